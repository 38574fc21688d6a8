//! As much of the Kubernetes API as Vault asks: whose token is this?

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::wire::{self, Request};

pub struct KubernetesApi {
    addr: SocketAddr,
    reviewed: Arc<Mutex<Vec<String>>>,
}

impl KubernetesApi {
    /// Every token is good, and belongs to `user` with `uid`.
    pub fn start(user: &'static str, uid: &'static str) -> Self {
        let reviewed: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&reviewed);
        let addr = wire::listen([127, 0, 0, 1], move |stream| serve(&stream, user, uid, &record));
        Self { addr, reviewed }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The tokens it was asked about.
    pub fn reviewed(&self) -> Vec<String> {
        self.reviewed.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, user: &str, uid: &str, record: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = Request::read(&mut reader) {
        assert_eq!(request.method, "POST");
        assert_eq!(request.target, "/apis/authentication.k8s.io/v1/tokenreviews");
        let review: Value = serde_json::from_slice(&request.body).unwrap();
        record.lock().unwrap().push(review["spec"]["token"].as_str().unwrap().to_owned());
        let status = json!({
            "authenticated": true,
            "audiences": review["spec"]["audiences"],
            "user": { "username": user, "uid": uid, "groups": ["system:serviceaccounts"] },
        });
        let (kind, version) = ("TokenReview", "authentication.k8s.io/v1");
        let answer = json!({ "kind": kind, "apiVersion": version, "status": status }).to_string();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }
}
