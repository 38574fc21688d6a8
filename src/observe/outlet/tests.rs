use std::sync::mpsc;

use super::*;

/// Writes at most `step` bytes at a time, and fails in a way that passes before each.
struct Slow {
    seen: mpsc::Sender<Vec<u8>>,
    step: usize,
    refuse: bool,
}

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.refuse = !self.refuse;
        if self.refuse {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = buf.len().min(self.step);
        self.seen.send(buf[..taken].to_vec()).unwrap();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow(step: usize) -> (Outlet, Counter, mpsc::Receiver<Vec<u8>>) {
    let (seen, received) = mpsc::channel();
    let errors = Counter::default();
    let sink = Box::new(Slow { seen, step, refuse: false });
    (Outlet::to(sink, errors.clone()).unwrap(), errors, received)
}

/// Takes nothing until its gate is open.
struct Unread(mpsc::Receiver<()>, mpsc::Sender<usize>);

impl Write for Unread {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.send(buf.len()).unwrap();
        let _ = self.0.recv();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn add(outlet: &Outlet, line: &[u8]) {
    outlet.keep(|lines| lines.extend_from_slice(line));
}

#[tokio::test]
async fn no_kept_line_is_lost_when_the_buffer_fills_up() {
    const LINES: usize = 30_000;
    let (outlet, errors, received) = slow(1 << 16);
    let line = [&[b'n'; 100][..], b"\n"].concat();
    for _ in 0..LINES {
        add(&outlet, &line);
        outlet.room().await;
    }
    assert!(outlet.flush(Duration::from_secs(30)));
    let all: Vec<u8> = received.try_iter().flatten().collect();
    assert!(all.len() > 2 * CAPACITY);
    assert_eq!(all.split(|&c| c == b'\n').count() - 1, LINES);
    assert_eq!(errors.get(), 0);
}

#[tokio::test]
async fn nobody_waits_longer_than_for_room_or_the_stop() {
    let ((gate, gated), (sender, written)) = (mpsc::channel(), mpsc::channel());
    let outlet = Outlet::to(Box::new(Unread(gated, sender)), Counter::default()).unwrap();
    let busy = b"the writer is busy with this one\n";
    add(&outlet, busy);
    assert_eq!(written.recv().unwrap(), busy.len());
    assert!(!outlet.flush(Duration::ZERO));
    outlet.room().await;
    add(&outlet, &vec![b'x'; CAPACITY]);
    let waits = |outlet: Outlet| async move {
        tokio::time::timeout(Duration::from_millis(50), outlet.room()).await.is_err()
    };
    assert!(waits(outlet.clone()).await);
    // The log's lines do not wait, and are not kept.
    outlet.offer(b"left out\n");
    let (waiting, stopping) = (outlet.room(), async { outlet.wait_for_nobody() });
    tokio::join!(biased; waiting, stopping);
    add(&outlet, b"one more\n");
    assert!(!waits(outlet.clone()).await);
    // Open from now on.
    drop(gate);
    assert!(outlet.flush(Duration::from_secs(30)));
    outlet.offer(b"taken\n");
    assert!(outlet.flush(Duration::from_secs(30)));
    let all: usize = written.try_iter().sum();
    let notice = "(lines were left out here: nobody read them)\ntaken\n".len();
    assert_eq!(all, CAPACITY + "one more\n".len() + notice);
}

#[test]
fn the_last_handle_writes_what_is_left() {
    let (outlet, _, received) = slow(7);
    add(&outlet, b"outcome=ok\n");
    drop(outlet);
    let all: Vec<u8> = received.iter().flatten().collect();
    assert_eq!(all, b"outcome=ok\n");
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failed_writes_are_counted() {
    let errors = Counter::default();
    let outlet = Outlet::to(Box::new(Broken), errors.clone()).unwrap();
    add(&outlet, b"line\n");
    assert!(outlet.flush(Duration::from_secs(30)));
    assert_eq!(errors.get(), 1);
}
