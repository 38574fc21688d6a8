//! The others: nginx and stunnel, each in the foreground, with nothing outside of our folder.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::load::NAME;
use super::process::{Process, free_port};
use super::stage::{AUTHORIZATION, Stage};
use super::support::programs::program;

/// Where one listens, or what the machine lacks.
pub(crate) type Started = Result<(Process, SocketAddr), &'static str>;

const NGINX: &str = "nginx (Debian: nginx-light)";
const STUNNEL: &str = "stunnel (Debian: stunnel4)";

/// TLS for `application`.
pub(crate) fn nginx_before(stage: &Stage, application: SocketAddr) -> Started {
    let (certificate, key) = (stage.path("certificate.pem"), stage.path("key.pem"));
    let server = format!(
        "ssl_certificate {};\nssl_certificate_key {};\nssl_protocols TLSv1.3;\n\
         ssl_session_cache off;\nssl_session_tickets off;\n\
         location / {{ proxy_pass http://peer;\nproxy_set_header Connection \"\";\n\
         proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Proto https; }}",
        certificate.display(),
        key.display(),
    );
    nginx(stage, application, "ssl", &server)
}

/// From plain HTTP to TLS, with the credential put in.
pub(crate) fn nginx_to(stage: &Stage, destination: SocketAddr) -> Started {
    let server = format!(
        "location / {{ proxy_pass https://peer;\nproxy_set_header Connection \"\";\n\
         proxy_set_header Host {NAME};\n\
         proxy_set_header Authorization \"{AUTHORIZATION}\";\nproxy_ssl_protocols TLSv1.3;\n\
         proxy_ssl_verify on;\nproxy_ssl_trusted_certificate {};\nproxy_ssl_name {NAME};\n\
         proxy_ssl_server_name on; }}",
        stage.path("authority.pem").display(),
    );
    nginx(stage, destination, "", &server)
}

/// One process, which is what a worker is.
fn nginx(stage: &Stage, peer: SocketAddr, listen: &str, server: &str) -> Started {
    let program = program("nginx").ok_or(NGINX)?;
    let at = free_port();
    let folder = stage.path(&format!("nginx-{}", at.port()));
    std::fs::create_dir(&folder).unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()))
        .concat();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {}/pid;\nerror_log /dev/null crit;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\naccess_log off;\n{temporary}keepalive_requests 1000000000;\n\
         keepalive_timeout 600s;\n\
         upstream peer {{ server {peer};\nkeepalive 64;\nkeepalive_requests 1000000000; }}\n\
         server {{\nlisten {at} {listen};\nproxy_http_version 1.1;\n{server} }}\n}}\n",
        folder.display(),
    );
    let config = stage.file(&format!("nginx-{}.conf", at.port()), &config);
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(config).args(["-e", "/dev/null"]);
    Ok((Process::measured(command.stderr(Stdio::null())), at))
}

/// TLS for `application`.
pub(crate) fn stunnel_before(stage: &Stage, application: SocketAddr) -> Started {
    let service = format!("cert = {}\n", stage.path("both.pem").display());
    stunnel(stage, application, &service)
}

/// From plain bytes to TLS.
pub(crate) fn stunnel_to(stage: &Stage, destination: SocketAddr) -> Started {
    let service = format!(
        "client = yes\nverifyChain = yes\nCAfile = {}\ncheckHost = {NAME}\nsni = {NAME}\n",
        stage.path("authority.pem").display()
    );
    stunnel(stage, destination, &service)
}

fn stunnel(stage: &Stage, peer: SocketAddr, service: &str) -> Started {
    let program = program("stunnel").or_else(|| program("stunnel4")).ok_or(STUNNEL)?;
    let at = free_port();
    let config = format!(
        "foreground = yes\npid =\ndebug = 0\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
         [bench]\naccept = {at}\nconnect = {peer}\nsslVersion = TLSv1.3\noptions = NO_TICKET\n\
         sessionResume = no\n{service}",
    );
    let config = stage.file(&format!("stunnel-{}.conf", at.port()), &config);
    let mut command = Command::new(program);
    Ok((Process::measured(command.arg(config).stderr(Stdio::null())), at))
}
