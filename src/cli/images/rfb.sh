#!/bin/sh
# The screen, as the RFB protocol, over standard input and output.
exec nc -N -U /tmp/.workspaced/rfb
