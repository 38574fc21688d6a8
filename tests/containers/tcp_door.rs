//! The compose project with a TCP listener and a token in the place of the abstract socket and a
//! user: what neighbors, forged requests and a careless application get there.

use crate::attacks::Neighbour;
use crate::engine::pid;
use crate::fetcher::Fetcher;
use crate::inside::ask_at;
use crate::project::{Project, change};
use crate::support::canary::canary;

const DOOR: &str = "127.0.0.1:7433";
const APP: u32 = 10_001;

/// A4 and A5, where there is something that a URL leads to.
pub fn attacked() {
    let token = canary("caller");
    let project = Project::of("compose", "skd");
    std::fs::write(project.path("token"), &token).unwrap();
    change(&project, "sidekey.toml", "unix = \"@sidekey\"", "tcp = \"127.0.0.1:7433\"");
    change(&project, "sidekey.toml", "uid = 10001", "token_file = \"/run/token\"");
    let mounted = "- ./sidekey.toml:/etc/sidekey/sidekey.toml:ro";
    let both = format!("{mounted}\n      - ./token:/run/token:ro");
    change(&project, "compose.yaml", mounted, &both);
    project.up();

    let pod = project.container("pod");
    let process = pid(&pod);
    let ask = |headers: &str| {
        ask_at(&process, APP, DOOR, &format!("GET /secrets/db/password\n{headers}"))
    };
    let known = format!("Authorization: Bearer {token}");
    let (status, password) = ask(&known);
    assert_eq!(status, 200, "the application passes: {password}");
    for (headers, expected) in [
        ("", 401),
        ("Authorization: Bearer guessed", 401),
        (&*format!("{known}\nHost: rebound.example:7433"), 421),
        (&*format!("{known}\nOrigin: http://127.0.0.1:8080"), 403),
        (&*format!("{known}\nSec-Fetch-Site: cross-site"), 403),
        (&*format!("{known}\nForwarded: for=192.0.2.1"), 400),
        (&*format!("{known}\nX-Forwarded-For: 192.0.2.1"), 400),
    ] {
        let (status, said) = ask(headers);
        assert_eq!(status, expected, "{headers}: {said}");
        assert!(!said.contains(&password), "{headers}");
    }

    for neighbour in Neighbour::of(&pod) {
        let asked = format!("GET /secrets/db/password\n{known}");
        let (status, said) = neighbour.ask(7433, &asked);
        assert!(status == 0 && said.contains("refused"), "{said}");
    }
    // The user that the application runs as is no key here.
    let fetcher = Fetcher::beside(&pod);
    for host in [DOOR, "localhost:7433", "127.1:7433", "[::ffff:127.0.0.1]:7433"] {
        let (status, said) = fetcher.fetch(&format!("http://{host}/secrets/db/password"));
        assert!(status == 200 && said.starts_with("wget: "), "{host}: {said}");
        assert!(!said.contains(&password) && !said.contains(&token), "{host}: {said}");
    }
    let (_, said) = fetcher.fetch(&format!("http://{DOOR}/secrets/db/password"));
    assert!(said.contains("401"), "it reaches the door, and has no token: {said}");
    drop(fetcher);
    project.down();
}
