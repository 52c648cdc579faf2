//! Random choices that a seed repeats.

use std::time::Duration;

/// `SplitMix64`: one small number is its whole state, so each caller has dice of its own.
pub(super) struct Dice(u64);

impl Dice {
    /// The dice of one caller.
    pub(super) fn new(seed: u64, caller: u64) -> Self {
        let mut mixed = Self(seed ^ caller.rotate_left(32));
        Self(mixed.roll())
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` - 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// 1 to `most`.
    pub(super) fn quantity(&mut self, most: u64) -> i64 {
        i64::try_from(self.below(most)).unwrap() + 1
    }

    /// A number of things, `least` to `least` + `spread` - 1.
    pub(super) fn count(&mut self, least: usize, spread: u64) -> usize {
        least + usize::try_from(self.below(spread)).unwrap()
    }

    /// A moment between two steps of whatever is under way.
    pub(super) fn moment(&mut self) -> Duration {
        Duration::from_micros(self.below(20_000))
    }
}
