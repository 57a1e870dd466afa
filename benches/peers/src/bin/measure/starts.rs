//! From exec to the first answer.

use crate::Run;
use crate::server::Server;

pub(crate) fn measure(run: &mut Run) {
    let peers = run.peers.clone();
    // The first round brings the programs into memory.
    let rounds = 0..run.rounds(15.0) + 1;
    run.alternate("starts", &peers, rounds, |run, peer, round| {
        let server = Server::start(peer, &run.workshop)?;
        if round > 0 {
            let milliseconds = server.start.as_secs_f64() * 1e3;
            run.results.add("starts", "start", peer.name, round, [("ms", milliseconds)]);
        }
        Ok(())
    });
}
