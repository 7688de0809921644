//! Medians and ranges of measured times.

use std::time::Duration;

/// Returns the lowest, the median and the highest time.
pub(crate) fn spread(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort();
    (times[0], times[times.len() / 2], times[times.len() - 1])
}

/// Prints the two medians and their ratio.
pub(crate) fn compare(what: &str, agent_times: Vec<Duration>, peer: Vec<Duration>, goal: &str) {
    let (agent_times, peer) = (spread(agent_times), spread(peer));
    println!("{what}");
    println!("    agent {:?} ({:?} to {:?})", agent_times.1, agent_times.0, agent_times.2);
    println!("    peer  {:?} ({:?} to {:?})", peer.1, peer.0, peer.2);
    println!("    ratio {:.3}; {goal}", agent_times.1.as_secs_f64() / peer.1.as_secs_f64());
}
