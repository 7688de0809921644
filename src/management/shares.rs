//! Shares of the places for posts. Each post has a route: the caller that asked for it, and the
//! destination that it goes to. A destination that never answers holds each of its posts for a long
//! time. Therefore the places are shared:
//!
//! - A caller has at most as many places as it leaves free, and no more than its maximum.
//! - A destination has no more places than its maximum. A route has at most as many as it leaves
//!   free to its destination, and to its caller.
//!
//! # Guarantees
//!
//! - Silent destinations and their callers leave places for the others.
//! - A free place goes to the caller, and then to the route, with the fewest posts.

use std::collections::HashMap;
use std::hash::Hash;

/// The caller of a post and its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PostRoute<C, D> {
    /// The caller.
    pub caller: C,
    /// The destination.
    pub destination: D,
}

/// The maximum numbers of places.
#[derive(Clone, Copy, Debug)]
pub struct ShareLimits {
    /// Of all callers together.
    pub all: usize,
    /// Of one caller.
    pub per_caller: usize,
    /// Of one destination.
    pub per_destination: usize,
}

/// The share that leaves no place for another post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostShare {
    /// All callers together.
    All,
    /// The share of the caller.
    Caller,
    /// The share of the destination, or of the caller among those of the destination.
    Destination,
}

/// The places that are taken, by caller, by destination and by route.
#[derive(Debug)]
pub struct ShareCounts<C, D> {
    limits: ShareLimits,
    all: usize,
    by_caller: HashMap<C, usize>,
    by_destination: HashMap<D, usize>,
    by_route: HashMap<PostRoute<C, D>, usize>,
}

impl<C: Clone + Eq + Hash, D: Clone + Eq + Hash> ShareCounts<C, D> {
    /// Creates the counts without any post.
    pub fn new(limits: ShareLimits) -> Self {
        Self {
            limits,
            all: 0,
            by_caller: HashMap::new(),
            by_destination: HashMap::new(),
            by_route: HashMap::new(),
        }
    }

    /// Returns the share that leaves no place for this route, or `None` if there is a place.
    pub fn exhausted_share(&self, route: &PostRoute<C, D>) -> Option<PostShare> {
        let ShareLimits { all, per_caller, per_destination } = self.limits;
        let (caller, destination) = (self.caller(route), self.destination(route));
        let free = all.saturating_sub(self.all);
        let free_of_caller = per_caller.saturating_sub(caller);
        let free_of_destination = per_destination.saturating_sub(destination);
        if free == 0 {
            Some(PostShare::All)
        } else if free_of_caller == 0 || caller >= free {
            Some(PostShare::Caller)
        } else if self.route(route) >= free_of_destination.min(free_of_caller) {
            Some(PostShare::Destination)
        } else {
            None
        }
    }

    /// Returns the candidate that gets the next place, or `None` if there is no place for any.
    /// Among equal ones, it is the smallest.
    pub fn choose_next<'a, T: Ord + Copy>(
        &self,
        candidates: impl Iterator<Item = (&'a PostRoute<C, D>, T)>,
    ) -> Option<T>
    where
        C: 'a,
        D: 'a,
    {
        let with_place = candidates.filter(|(route, _)| self.exhausted_share(route).is_none());
        let next =
            with_place.min_by_key(|(route, order)| (self.caller(route), self.route(route), *order));
        next.map(|(_, order)| order)
    }

    /// Takes a place.
    pub fn take(&mut self, route: &PostRoute<C, D>) {
        self.all += 1;
        *self.by_caller.entry(route.caller.clone()).or_default() += 1;
        *self.by_destination.entry(route.destination.clone()).or_default() += 1;
        *self.by_route.entry(route.clone()).or_default() += 1;
    }

    /// Gives a place back.
    pub fn give_back(&mut self, route: &PostRoute<C, D>) {
        self.all = self.all.saturating_sub(1);
        count_down(&mut self.by_caller, &route.caller);
        count_down(&mut self.by_destination, &route.destination);
        count_down(&mut self.by_route, route);
    }

    /// Returns the number of places that are taken.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Returns the number of places of the caller.
    pub fn caller(&self, route: &PostRoute<C, D>) -> usize {
        count(&self.by_caller, &route.caller)
    }

    /// Returns the number of places of the destination.
    pub fn destination(&self, route: &PostRoute<C, D>) -> usize {
        count(&self.by_destination, &route.destination)
    }

    fn route(&self, route: &PostRoute<C, D>) -> usize {
        count(&self.by_route, route)
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

/// Counts down, and removes a count of zero, so that the map does not grow.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(taken) = counts.get_mut(key) {
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_left_when_all_places_are_given_back() {
        let mut counts =
            ShareCounts::new(ShareLimits { all: 4, per_caller: 4, per_destination: 4 });
        let routes = [(1, 1), (1, 2), (2, 1)];
        let routes = routes.map(|(caller, destination)| PostRoute { caller, destination });
        routes.iter().for_each(|route| counts.take(route));
        assert_eq!((counts.caller(&routes[0]), counts.destination(&routes[0])), (2, 2));
        routes.iter().for_each(|route| counts.give_back(route));
        let ShareCounts { all, by_caller, by_destination, by_route, .. } = counts;
        let left = (all, by_caller.len(), by_destination.len(), by_route.len());
        assert_eq!(left, (0, 0, 0, 0));
    }
}
