//! Starts moto, once a process, on a port of loopback that it chooses itself. It ends with the process, however that ends, as its standard input
//! closes then. It must not be shared between processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::programs;

/// Serves moto's own application. Connections are kept, and answers are sent at once. One call at a time, receiving aside: moto looks at a
/// condition and writes in two steps, which DynamoDB does in one.
const LAUNCHER: &str = r#"
import logging, os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
moto, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()
def app(environ, start_response):
    if "ReceiveMessage" in environ.get("HTTP_X_AMZ_TARGET", ""):
        return moto(environ, start_response)
    with turn:
        return list(moto(environ, start_response))
server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
print(server.port, flush=True)
server.serve_forever()
"#;

/// moto at work.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    _child: Child,
}

impl Moto {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn start() -> Result<Moto, String> {
        let (program, python) = programs();
        let python = python.ok_or_else(|| format!("{} is not here, or not the script that pip made", program.display()))?;
        let mut command = Command::new(&python);
        command.args(["-c", LAUNCHER]).env("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", "33554432");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| format!("{}: {e}", python.display()))?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let port: u16 = match said {
            Some(Ok(_)) => line.trim().parse().map_err(|_| "moto said no port".to_owned())?,
            _ => return Err("moto said nothing".to_owned()),
        };
        Ok(Moto { address: SocketAddr::from(([127, 0, 0, 1], port)), _child: child })
    }
}

/// moto, started when first asked for. `None`, loudly, if it is not here; where nothing may be skipped that is a failure.
///
/// # Panics
/// If it is not here and `PENSTOCK_STRICT` is 1.
pub fn moto() -> Option<&'static Moto> {
    static MOTO: OnceLock<Result<Moto, String>> = OnceLock::new();
    match MOTO.get_or_init(Moto::start) {
        Ok(moto) => Some(moto),
        Err(error) => {
            let why = format!("SKIPPED: moto does not run ({error}); `pip install 'moto[server]==5.2.5'`, or name it with PENSTOCK_MOTO");
            assert!(
                std::env::var_os("PENSTOCK_STRICT").is_none_or(|strict| strict != "1"),
                "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped"
            );
            eprintln!("{why}");
            None
        }
    }
}
