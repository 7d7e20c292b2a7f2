#!/bin/sh
# The desktop of a computer: an X server that no network reaches, and a window manager with a bar for programs.
export DISPLAY=:1
mkdir -p -m 1777 /tmp/.X11-unix
mkdir -p -m 700 /tmp/.workspaced
Xvnc :1 -geometry "${DESKTOP_SIZE:-1280x800}" -depth 24 -SecurityTypes None -AlwaysShared \
  -rfbunixpath /tmp/.workspaced/rfb -rfbunixmode 0600 -rfbport -1 -SendCutText=0 -nolisten tcp -desktop workspaced &
server=$!
trap 'kill "$server"' TERM INT
until [ -S /tmp/.X11-unix/X1 ] || ! kill -0 "$server" 2>/dev/null; do sleep 0.05; done
cd "$HOME" || cd /
hsetroot -solid "#2f3b46"
icewm >/dev/null 2>&1 &
[ -x "$HOME/.workspaced-autostart" ] && "$HOME/.workspaced-autostart" &
wait "$server"
