//! Values that are replaced while a program reads them all the time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::stage::{Stage, line, only_child_of, send, start};

/// How often it is replaced, a second apart: as often as Vault is asked.
const ROTATIONS: usize = 6;
const READS: usize = 3_000;

/// Whoever opens the file again sees a whole value, the old or the new one; and once it was told,
/// the new one.
#[test]
fn a_file_that_is_read_all_the_time_holds_whole_values() {
    let stage = Stage::new();
    // All of one length, so that there is no moment between the content and its length.
    let mut values = vec![stage.new_password()];
    let flags = ["--file", "FILE=db/password", "--signal-on-change", "USR1", "--debounce", "0s"];
    let script = "trap 'echo told' USR1; echo $FILE; while :; do sleep 0.02; done";
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    let number = line(&mut lines).rsplit_once('/').unwrap().1.to_owned();
    // The program's own open file, opened again as the program would by its path.
    let path = format!("/proc/{}/fd/{number}", only_child_of(child.id()));
    let read = || std::fs::read_to_string(&path).unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while !done.load(Ordering::Relaxed) || reads.load(Ordering::Relaxed) < READS {
                        seen.insert(read());
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..ROTATIONS {
            let password = stage.new_password();
            assert_eq!(line(&mut lines), "told");
            assert_eq!(read(), password);
            values.push(password);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert!(reads.into_inner() >= READS);
    let values: BTreeSet<_> = values.into_iter().collect();
    assert_eq!(seen, values, "each of them, and nothing else");
    send(child.id(), "TERM");
    child.wait().unwrap();
}
