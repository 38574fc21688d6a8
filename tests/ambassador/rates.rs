//! The limits of the local door hold for ambassadors as well: of one caller rule, and of all.

use std::io::{Read as _, Write as _};

use serde_json::json;

use crate::destination::Destination;
use crate::peer::{Manner, Peer};
use crate::postgres::startup;
use crate::scene::Scene;
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::trials::Case;
use crate::tcp::{connect, counted};

pub(crate) const CASES: [Case; 3] = [
    ("rates_hold_for_http", &[], http),
    ("rates_hold_for_postgres", &[], postgres),
    ("rates_hold_for_tcp", &[], tcp),
];

const LIMITS: [&str; 2] =
    ["[limits]\nrequests_per_second = 1", "[limits]\ntotal_requests_per_second = 1"];
const LISTEN: &str = "listen = '127.0.0.1:0'\nallow = ['app']\n";

fn http() {
    for limit in LIMITS {
        let destination = Destination::plain();
        let lines =
            format!("{LISTEN}credential = 'bearer'\ndestination = 'http://{}'", destination.addr);
        let scene = Scene::http(&lines, limit);
        assert_eq!(scene.get("/").status, 200);
        let refused = eventually("a refusal", || {
            let answer = scene.get("/");
            (answer.status != 200).then_some(answer)
        });
        assert_eq!((refused.status, refused.code()), (429, "too_many_requests".into()));
        assert!(refused.header("retry-after").is_some());
        let asked = destination.asked().len();
        counted(&scene, "ok", u32::try_from(asked).unwrap());
        eventually("the next second", || (scene.get("/").status == 200).then_some(()));
        scene.stop();
    }
}

fn postgres() {
    for limit in LIMITS {
        let fields = json!({ "username": "u", "password": canary("rates") });
        let lines = format!("{LISTEN}destination = '127.0.0.1:1'");
        let scene = Scene::of("postgres", &lines, limit, fields);
        let refused = eventually("a refusal", || {
            let mut stream = connect(&scene);
            stream.write_all(&startup(b"user\0me\0\0")).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            (!answer.contains("destination_unreachable")).then_some(answer)
        });
        assert!(refused.contains("C53300\0") && refused.contains("too_many_requests"), "{refused}");
        counted(&scene, "too_many_requests", 1);
        scene.stop();
    }
}

fn tcp() {
    for limit in LIMITS {
        let peer = Peer::start(Manner::Echo, None);
        let scene = Scene::tcp(&format!("destination = '{}'", peer.addr), limit);
        let refused = eventually("a refusal", || {
            let mut stream = connect(&scene);
            let answered =
                stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0; 1])).is_ok();
            (!answered).then_some(stream)
        });
        drop(refused);
        counted(&scene, "too_many_requests", 1);
        let opened = peer.connections();
        counted(&scene, "ok", u32::try_from(opened).unwrap());
        scene.stop();
    }
}
