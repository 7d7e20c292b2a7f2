//! What published clients ask of a computer, that is another product's on the hosted platform: what to use here.

/// The word after the id of a computer, and the rest of a sentence.
const INSTEAD: &[(&str, &str)] = &[
    (
        "services",
        "start a program in the background with exec (nohup PROGRAM >/tmp/log 2>&1 &), or make it the command of the \
         template in [images]",
    ),
    (
        "network-policy",
        "what computers reach is set for all of them: [engine] network, firewall and host_ports in the configuration",
    ),
    (
        "volumes",
        "a computer has one volume, which GET shows and which stays when its container is made anew",
    ),
    (
        "domains",
        "a domain is set for a project, a workspace or the organization: PUT /api/v1/workspaces/{id}/preview-domain",
    ),
    (
        "apps",
        "what is installed is in the image of the template; GET shows the selected_apps of the computer",
    ),
    ("inbox", "computers receive no mail"),
    (
        "osa",
        "no agent runs in a computer; run one of yours with exec",
    ),
    (
        "agent",
        "no agent runs in a computer; run one of yours with exec",
    ),
    (
        "control",
        "no agent runs in a computer; run one of yours with exec",
    ),
    (
        "cua",
        "no agent runs in a computer; run one of yours with exec",
    ),
    (
        "connectors",
        "give what a program needs to it as variables: POST /api/v1/computers/{id}/env",
    ),
];

/// What to use instead of a path of a computer that is not there: its feature, and a sentence.
pub fn of_computer(path: &str) -> Option<(&'static str, &'static str)> {
    let mut segments = path
        .split('/')
        .filter(|s| !s.is_empty())
        .skip_while(|s| *s != "computers");
    let word = segments.nth(2)?;
    if (word, segments.next()) == ("files", Some("export")) {
        return Some((
            "files/export",
            "GET files/download has a file; a directory is packed with exec and tar first",
        ));
    }
    INSTEAD.iter().find(|(known, _)| *known == word).copied()
}
