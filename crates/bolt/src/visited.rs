//! Which pages a walk came by: a bit each, so that a file whose pages form a circle has an end.

/// Pages seen. Takes a bit for each page of the file, which the file's length bounds.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    words: Vec<u64>,
    count: u64,
}

impl Visited {
    /// Notes `pages` pages from `first` on, all below `mark`; false if one was seen before.
    pub(crate) fn insert(&mut self, first: u64, pages: u64, mark: u64) -> bool {
        assert!(first + pages <= mark, "the caller checks pages against the mark");
        let words = usize::try_from(mark.div_ceil(64)).expect("a file's pages fit in memory's");
        self.words.resize(words, 0);
        for page in first..first + pages {
            let word = &mut self.words[usize::try_from(page / 64).expect("below the mark")];
            let bit = 1 << (page % 64);
            if *word & bit != 0 {
                return false;
            }
            *word |= bit;
            self.count += 1;
        }
        true
    }

    /// Pages noted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
