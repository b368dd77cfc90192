//! Long lists a page at a time: which part is asked for, and the ways to the parts beside it. It refuses to count from zero
//! before people, and to lead to a page that is not there.
use super::format;

/// Where a reader stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// From 1.
    pub page: usize,
    size: usize,
    all: usize,
}

/// The ways on, and where the reader is; only where there is more than one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub before: Option<String>,
    pub after: Option<String>,
    pub said: String,
}

impl Shelf {
    /// The page asked for, or the nearest there is.
    pub fn of(asked: Option<usize>, all: usize, size: usize) -> Self {
        let last = all.div_ceil(size).max(1);
        Self { page: asked.unwrap_or(1).clamp(1, last), size, all }
    }

    /// How many stand on the pages before.
    pub const fn skip(self) -> usize {
        (self.page - 1) * self.size
    }

    const fn last(self) -> bool {
        self.page * self.size >= self.all
    }

    /// The address of another page of the list at `base`; the first one needs no number.
    pub fn address(self, base: &str, page: usize) -> String {
        let joint = if base.contains('?') { '&' } else { '?' };
        if page == 1 { base.to_owned() } else { format!("{base}{joint}page={page}") }
    }

    /// `what` is listed, in the singular.
    pub fn pages(self, base: &str, what: &str) -> Option<Pages> {
        if self.all <= self.size {
            return None;
        }
        let (first, end) = (self.skip() + 1, (self.page * self.size).min(self.all));
        Some(Pages {
            before: (self.page > 1).then(|| self.address(base, self.page - 1)),
            after: (!self.last()).then(|| self.address(base, self.page + 1)),
            said: format!("{first} to {end} of {}", format::count(self.all, what)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_fits_has_no_pages() {
        assert_eq!(Shelf::of(None, 50, 50).pages("/nodes", "node"), None);
        assert_eq!((Shelf::of(Some(7), 0, 50).page, Shelf::of(Some(0), 9, 50).skip()), (1, 0));
    }

    #[test]
    fn each_page_leads_to_those_beside_it() {
        let at = |page| Shelf::of(Some(page), 120, 50).pages("/nodes?show=all", "node").unwrap();
        let (first, middle, last) = (at(1), at(2), at(9));
        assert_eq!((first.before, first.after.as_deref()), (None, Some("/nodes?show=all&page=2")));
        assert_eq!(middle.before.as_deref(), Some("/nodes?show=all"));
        assert_eq!(middle.said, "51 to 100 of 120 nodes");
        assert_eq!((last.said.as_str(), last.after), ("101 to 120 of 120 nodes", None));
    }
}
