//! What is in an image, and how that is written down for the program that puts it together, or for a Containerfile.

use clap::ValueEnum;

/// Debian's release that images are made of.
pub(super) const SUITE: &str = "bookworm";
/// What nobody reads in a computer.
pub(super) const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];
const BASE: [&str; 6] = [
    "ca-certificates",
    "curl",
    "iproute2",
    "netcat-openbsd",
    "procps",
    "python3-minimal",
];
/// A screen that has no monitor, its windows, and what the API works them with.
const DESKTOP: [&str; 9] = [
    "tigervnc-standalone-server",
    "icewm",
    "xterm",
    "xdotool",
    "wmctrl",
    "xclip",
    "scrot",
    "hsetroot",
    "fonts-dejavu-core",
];
const SESSION: &str = include_str!("session.sh");
const RFB: &str = include_str!("rfb.sh");
const USER: &str = "useradd -m -u 1000 -s /bin/bash user";

/// An image that can be built.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recipe {
    Base,
    Desktop,
}

/// Whether a text can be the name of a package of Debian's.
pub(super) fn is_package(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.len() > 1 && text.bytes().all(fits) && !text.starts_with(['+', '-', '.'])
}

/// As one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A program written into the image by a shell, a line an argument: also what reads no other form takes that.
fn program(path: &str, text: &str) -> String {
    let lines: Vec<String> = text.lines().map(quoted).collect();
    let lines = lines.join(" \\\n    ");
    format!("printf '%s\\n' \\\n    {lines} \\\n    > {path} && chmod 755 {path}")
}

impl Recipe {
    pub(super) const ALL: [Recipe; 2] = [Recipe::Base, Recipe::Desktop];

    pub(super) fn name(self) -> &'static str {
        match self {
            Recipe::Base => "base",
            Recipe::Desktop => "desktop",
        }
    }

    pub(super) fn tag(self) -> &'static str {
        match self {
            Recipe::Base => "localhost/workspaced/base:1",
            Recipe::Desktop => "localhost/workspaced/desktop:1",
        }
    }

    /// The template that it is made for.
    pub(super) fn template(self) -> &'static str {
        match self {
            Recipe::Base => "ubuntu-24",
            Recipe::Desktop => "miosa-desktop",
        }
    }

    pub(super) fn packages<'a>(self, more: &'a [String]) -> Vec<&'a str> {
        let desktop: &[&str] = if self == Recipe::Desktop {
            &DESKTOP
        } else {
            &[]
        };
        let own = BASE.iter().chain(desktop).copied();
        own.chain(more.iter().map(String::as_str)).collect()
    }

    /// What is done when the packages are there, in steps.
    fn steps(self) -> Vec<String> {
        match self {
            Recipe::Base => Vec::new(),
            Recipe::Desktop => vec![
                USER.to_owned(),
                program("/usr/local/bin/workspaced-session", SESSION),
                program("/usr/local/bin/workspaced-rfb", RFB),
            ],
        }
    }

    /// The same as one program for a shell.
    pub(super) fn setup(self) -> String {
        let mut steps = self.steps();
        steps.push("rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin".into());
        steps.join("\n")
    }

    /// What the image says of itself.
    pub(super) fn changes(self) -> Vec<&'static str> {
        match self {
            Recipe::Base => vec![r#"CMD ["/bin/bash"]"#],
            Recipe::Desktop => vec![
                "ENV DISPLAY=:1",
                "ENV HOME=/home/user",
                "USER 1000",
                "WORKDIR /home/user",
                r#"CMD ["/usr/local/bin/workspaced-session"]"#,
            ],
        }
    }

    pub(super) fn containerfile(self, more: &[String]) -> String {
        let packages = self.packages(more).join(" \\\n        ");
        let mut text = format!(
            "# {}: docker build -t {} - < Containerfile\nFROM debian:{SUITE}-slim\n\
             RUN apt-get update && apt-get install -y --no-install-recommends \\\n        {packages} \\\n    && rm -rf /var/lib/apt/lists/*\n",
            self.name(),
            self.tag(),
        );
        for step in self.steps() {
            text += &format!("RUN {step}\n");
        }
        for change in self.changes() {
            text += &format!("{change}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_writes_the_programs_as_they_are() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("session");
        let step = program(path.to_str().unwrap(), SESSION);
        let ran = std::process::Command::new("/bin/sh")
            .args(["-ec", &step])
            .status();
        assert!(ran.unwrap().success());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), SESSION);
        // Without a heredoc, which not every builder knows.
        let text = Recipe::Desktop.containerfile(&["firefox-esr".into()]);
        assert!(
            text.contains("firefox-esr") && !text.contains("<<"),
            "{text}"
        );
        let instructions = [
            "FROM ", "RUN ", "ENV ", "USER ", "WORKDIR ", "CMD ", "#", "    ",
        ];
        for line in text.lines() {
            assert!(instructions.iter().any(|i| line.starts_with(i)), "{line}");
        }
    }

    #[test]
    fn a_package_is_no_option_of_a_program() {
        assert!(is_package("firefox-esr") && is_package("g++") && is_package("libx11-6"));
        for text in ["", "-x", "a b", "a,b", "$(x)", "../x", "A"] {
            assert!(!is_package(text), "{text}");
        }
    }
}
