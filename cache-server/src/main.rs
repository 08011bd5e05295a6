//! The command line of headstart-server.

use std::{error::Error as _, io::Write as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use headstart_cache_server::{Access, Config, Log, Server, StartError, Stopped, read_token_file};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serve a store of packs, snapshots and entries to other machines
///
/// Example: headstart-server --data /var/lib/headstart --listen 0.0.0.0:7460 --token-file /etc/headstart/token
#[derive(Debug, Parser)]
#[command(name = "headstart-server", version)]
struct Args {
    /// Folder of the store; made when it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7460")]
    listen: String,
    /// File with the token that clients must send
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Listen on an address that other machines reach, without a token: whoever reaches it may write
    #[arg(long, conflicts_with = "token_file")]
    insecure_no_token: bool,
    /// Do not log requests
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(Some(Stopped::Cleanly)) => ExitCode::SUCCESS,
        Ok(None) => {
            say("stopped at once by a second signal");
            ExitCode::FAILURE
        }
        Ok(Some(Stopped::CutOff(connections))) => {
            say(&format!(
                "stopped at the deadline; {connections} connections were open"
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            let mut message = format!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            if matches!(error, StartError::Unprotected(_)) {
                message.push_str(
                    "\nhint: give --token-file FILE, listen on 127.0.0.1, or say --insecure-no-token",
                );
            }
            say(&message);
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes; `None` when a second one did not let it end.
async fn run(args: Args) -> Result<Option<Stopped>, StartError> {
    let access = match (&args.token_file, args.insecure_no_token) {
        (Some(path), _) => Access::Token(read_token_file(path)?),
        (None, true) => Access::OpenToAll,
        (None, false) => Access::OpenOnLoopback,
    };
    let server = Server::bind(Config {
        data: args.data,
        listen: args.listen,
        access,
        log: (!args.quiet).then(|| Log::new(say)),
    })
    .await?;
    // The answer a script waits for. A reader that went away is no reason not to serve.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on http://{}", server.address());
    let _ = stdout.flush();
    let mut signals = Signals::new();
    let mut again = Signals::new();
    let stop = async move { signals.next().await };
    Ok(tokio::select! {
        stopped = server.run(stop) => Some(stopped),
        () = async { again.next().await; again.next().await } => None,
    })
}

/// SIGTERM and SIGINT.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> Self {
        let listen = |kind| signal(kind).expect("these signals can be handled");
        Signals(listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// One line to stderr, in one write, so that lines of different threads do not mix.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
