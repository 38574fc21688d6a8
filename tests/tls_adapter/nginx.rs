//! The application is nginx: files, ranges, conditions, and bodies that it compresses.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::scene::Scene;
use crate::support::eventually;
use crate::support::programs::has;
use crate::support::programs::program;
use crate::support::trials::{CURL_WITH_HTTP2, Case, Component};
use crate::tools::curl;

const NGINX: Component = Component::new("nginx", || has("nginx"));

pub(crate) const CASES: [Case; 2] = [
    ("nginx_serves_files_through_it", &[NGINX, CURL_WITH_HTTP2], files),
    ("nginx_gone_and_back", &[NGINX, CURL_WITH_HTTP2], gone_and_back),
];

/// One process, with nothing outside of its folder.
struct Nginx {
    child: Child,
    folder: TempDir,
    addr: SocketAddr,
}

impl Nginx {
    fn start() -> Self {
        // Nginx takes no port that the system picks; this one was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::start_in(tempfile::tempdir().unwrap(), free)
    }

    fn start_in(folder: TempDir, addr: SocketAddr) -> Self {
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log /dev/null;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temporary}gzip on;\ngzip_types text/plain;\n\
             default_type text/plain;\nserver {{\nlisten {addr};\nroot {at}/files;\n\
             location /asked {{ return 200 \"$host $http_x_forwarded_for $http_via\"; }} }}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program("nginx").unwrap());
        command.arg("-p").arg(folder.path()).arg("-c").arg(file).args(["-e", "/dev/null"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("nginx", || TcpStream::connect(addr).ok());
        Self { child, folder, addr }
    }

    fn file(&self, name: &str, content: &str) {
        let files = self.folder.path().join("files");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join(name), content).unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn files() {
    let nginx = Nginx::start();
    let large = "what a larger file may say ".repeat(50_000);
    nginx.file("large", &large);
    let scene = Scene::http(nginx.addr, "");
    for flag in ["--http1.1", "--http2"] {
        let ask = |arguments: &[&str], path: &str| {
            let (body, outcome) = curl(&scene, &[&[flag], arguments].concat(), path);
            (body, outcome.split_once(' ').unwrap().1.to_owned())
        };
        assert_eq!(ask(&[], "/large"), (large.clone(), "200".into()));
        assert_eq!(ask(&["--compressed"], "/large"), (large.clone(), "200".into()));
        assert_eq!(
            ask(&["--range", "1000-1999"], "/large"),
            (large[1000..2000].into(), "206".into())
        );
        let (head, status) = ask(&["--head"], "/large");
        let length = format!("content-length: {}", large.len());
        assert!(status == "200" && head.to_lowercase().contains(&length), "{head}");
        let etag = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|it| it.0.eq_ignore_ascii_case("etag")));
        let condition = format!("If-None-Match: {}", etag.unwrap().1.trim());
        assert_eq!(ask(&["--header", &condition], "/large"), (String::new(), "304".into()));
        assert_eq!(ask(&[], "/none").1, "404");
        let via = if flag == "--http2" { "2.0 sidekey" } else { "1.1 sidekey" };
        let said = format!("{} 127.0.0.1 {via}", crate::scene::NAME);
        assert_eq!(ask(&["--header", "X-Forwarded-For: 6.6.6.6"], "/asked"), (said, "200".into()));
    }
    scene.stop();
}

fn gone_and_back() {
    let nginx = Nginx::start();
    nginx.file("file", "here");
    let scene = Scene::http(nginx.addr, "");
    assert_eq!(curl(&scene, &[], "/file"), ("here".into(), "2 200".into()));
    let addr = nginx.addr;
    drop(nginx);
    let (problem, outcome) = curl(&scene, &[], "/file");
    assert!(
        outcome == "2 502" && problem.contains("application_unreachable"),
        "{outcome} {problem}"
    );
    let line =
        "sidekey_tls_application_errors_total{adapter=\"web\",error=\"application_unreachable\"}";
    scene.counted(line, 1);
    let again = Nginx::start_in(tempfile::tempdir().unwrap(), addr);
    again.file("file", "back");
    assert_eq!(curl(&scene, &[], "/file"), ("back".into(), "2 200".into()));
    scene.stop();
}
