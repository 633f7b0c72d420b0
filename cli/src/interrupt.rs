//! Ctrl-C: while rows are read and planned nothing was sent, so the process just leaves; from then on the first one stops cleanly and
//! the second one leaves.

use crate::failure::CANCELED;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Listens for Ctrl-C on a thread of its own, since reading rows keeps the runtime's busy.
#[derive(Clone, Debug)]
pub struct Interrupt {
    delivering: Arc<AtomicBool>,
    asked: watch::Receiver<bool>,
}

impl Interrupt {
    /// Begins to listen. The error is a lowercase fragment.
    pub fn listen() -> Result<Interrupt, String> {
        let delivering = Arc::new(AtomicBool::new(false));
        let (sender, asked) = watch::channel(false);
        let interrupt = Interrupt { delivering: Arc::clone(&delivering), asked };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("signals cannot be listened for: {e}"))?;
        let (ready, listening) = std::sync::mpsc::channel();
        std::thread::spawn(move || runtime.block_on(listen(&delivering, &sender, &ready)));
        match listening.recv() {
            Ok(Ok(())) => Ok(interrupt),
            Ok(Err(error)) => Err(format!("signals cannot be listened for: {error}")),
            Err(_) => Err("signals cannot be listened for: the thread is gone".to_string()),
        }
    }

    /// From now on a Ctrl-C stops cleanly.
    pub fn begin_delivering(&self) {
        self.delivering.store(true, Ordering::SeqCst);
    }

    /// Resolves when a clean stop was asked for.
    pub async fn asked(mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
async fn listen(delivering: &AtomicBool, sender: &watch::Sender<bool>, ready: &std::sync::mpsc::Sender<std::io::Result<()>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = match signal(SignalKind::interrupt()) {
        Ok(signals) => signals,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let _ = ready.send(Ok(()));
    while signals.recv().await.is_some() {
        take(delivering, sender);
    }
}

#[cfg(not(unix))]
async fn listen(delivering: &AtomicBool, sender: &watch::Sender<bool>, ready: &std::sync::mpsc::Sender<std::io::Result<()>>) {
    let _ = ready.send(Ok(()));
    while tokio::signal::ctrl_c().await.is_ok() {
        take(delivering, sender);
    }
}

fn take(delivering: &AtomicBool, sender: &watch::Sender<bool>) {
    if !delivering.load(Ordering::SeqCst) {
        eprintln!("stopped while reading and planning; nothing was sent");
        std::process::exit(i32::from(CANCELED));
    }
    if sender.send_replace(true) {
        eprintln!("left at once; the next run goes on where this one was");
        std::process::exit(i32::from(CANCELED));
    }
    eprintln!("stopping: waiting for the requests on their way; press Ctrl-C again to leave at once");
}
