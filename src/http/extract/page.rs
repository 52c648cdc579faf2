//! Lists that are read page by page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body;
use crate::http::problem::Problem;

/// How many items a page has at most: 1 to 100, 20 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u64")]
#[schema(value_type = u8, minimum = 1, maximum = 100, default = 20)]
pub struct PageLimit(u8);

impl PageLimit {
    /// The number itself.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// How many rows to ask the database for: one more, which shows whether another page follows.
    pub fn rows(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(20)
    }
}

impl TryFrom<u64> for PageLimit {
    type Error = &'static str;

    fn try_from(limit: u64) -> Result<Self, Self::Error> {
        u8::try_from(limit)
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .map(Self)
            .ok_or("must be from 1 to 100")
    }
}

/// Where the next page begins. Opaque to callers: it is the last item's sort key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor that stands for `key`.
    pub fn of<K: Serialize>(key: &K) -> Result<Self, Problem> {
        let json = serde_json::to_vec(key).map_err(Problem::internal)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(json)))
    }

    /// The key it stands for. 400 for a text that no page gave out for this list.
    pub fn key<K: DeserializeOwned>(&self) -> Result<K, Problem> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).unwrap_or_default();
        body::parse(&json).map_err(|_| {
            Problem::malformed_parameter("cursor", "not a cursor that this list gave out")
        })
    }
}

/// The query of a list without filters. Lists with filters have these two fields among their own.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items to return.
    #[serde(default)]
    #[param(inline, required = false)]
    pub limit: PageLimit,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor>,
}

impl PageQuery {
    /// The key behind which the page begins; None for the first page.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        self.cursor.as_ref().map(Cursor::key).transpose()
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing<T> {
    /// The items.
    pub data: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last.
    #[schema(value_type = Option<String>, required = true)]
    pub next_cursor: Option<Cursor>,
}

impl<T> Listing<T> {
    /// A page out of up to [`PageLimit::rows`] rows; `key` is what the rows are sorted by, unique.
    pub fn new<K: Serialize>(
        mut rows: Vec<T>,
        limit: PageLimit,
        key: impl Fn(&T) -> K,
    ) -> Result<Self, Problem> {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| Cursor::of(&key(last)))
            .transpose()?;
        Ok(Self {
            data: rows,
            next_cursor,
        })
    }

    /// A list that is always whole.
    pub fn whole(data: Vec<T>) -> Self {
        Self {
            data,
            next_cursor: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(number: u64) -> PageLimit {
        PageLimit::try_from(number).unwrap()
    }

    #[test]
    fn a_page_that_is_not_the_last_says_where_the_next_begins() {
        let page = Listing::new(vec![1, 2, 3], limit(2), |n| (*n, "a")).unwrap();
        assert_eq!(page.data, [1, 2]);
        let key: (i32, String) = page.next_cursor.unwrap().key().unwrap();
        assert_eq!(key, (2, "a".to_owned()));
        for rows in [vec![], vec![1], vec![1, 2]] {
            let last = Listing::new(rows.clone(), limit(2), |n| *n).unwrap();
            assert_eq!((last.data, last.next_cursor), (rows, None));
        }
    }

    #[test]
    fn a_cursor_that_nobody_gave_out_is_refused() {
        let nul = URL_SAFE_NO_PAD.encode(r#""a\u0000""#);
        let other = URL_SAFE_NO_PAD.encode("5");
        for text in ["", "!", "====", "bm9uc2Vuc2U", &nul, &other] {
            let problem = Cursor(text.to_owned()).key::<String>().unwrap_err();
            assert_eq!(problem.document().status, 400, "{text}");
            assert_eq!(problem.document().errors[0].pointer, "/cursor");
        }
    }
}
