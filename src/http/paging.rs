//! Lists: `{data, total}`, whole unless a page is asked for.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::cursor::{self, Order, Place};
use super::params::{Param, Within};
use crate::error::{Error, Fields, Result};
use crate::store::Tx;

/// A list of the API: two keys, since one client refuses a third; `meta` comes where `per_page` was sent,
/// by those that look for it.
#[derive(Serialize, Debug)]
pub struct List<T> {
    /// The rows of this page.
    pub data: Vec<T>,
    /// How many there are before paging.
    pub total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<PageMeta>,
    /// The `Link` header to the next page.
    #[serde(skip)]
    next: Option<String>,
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        linked(&self, self.next.as_deref())
    }
}

/// A page as JSON, with the `Link` to the next one.
pub fn linked(page: &impl Serialize, next: Option<&str>) -> Response {
    let mut response = axum::Json(page).into_response();
    if let Some(Ok(link)) = next.map(HeaderValue::from_str) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

impl<T> List<T> {
    /// All rows that there are.
    pub fn whole(data: Vec<T>) -> Self {
        List {
            total: i64::try_from(data.len()).unwrap_or(i64::MAX),
            data,
            meta: None,
            next: None,
        }
    }
}

/// Where a page lies, for clients that count pages.
#[derive(Serialize, ToSchema, Debug)]
pub struct PageMeta {
    /// How many rows there are before paging.
    total: i64,
    /// Number of this page, from 1.
    page: i64,
    /// Rows of a page.
    per_page: i64,
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .property(
                "data",
                ArrayBuilder::new().items(Ref::from_schema_name(T::name())),
            )
            .property("total", i64::schema())
            .property("meta", Ref::from_schema_name(PageMeta::name()))
            .required("data")
            .required("total")
            .into()
    }
}

/// By hand, because the derived name would be the same for every `T`.
impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(all: &mut Vec<(String, RefOr<Schema>)>) {
        all.push((T::name().into_owned(), T::schema()));
        T::schemas(all);
        all.push((PageMeta::name().into_owned(), PageMeta::schema()));
    }
}

/// How a part of a list is asked for: `page` with `page_size` (or `per_page`), or `limit` with
/// `offset`. Nothing given: everything.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PageQuery {
    /// Page number from 1; goes with `page_size`
    #[param(inline)]
    pub page: Param<Within<1, { i64::MAX }>>,
    /// Rows per page, 1 to 100 (20 when only `page` is given)
    #[param(inline)]
    pub page_size: Param<Within<1, 100>>,
    /// Another name of `page_size`
    #[param(inline)]
    pub per_page: Param<Within<1, 100>>,
    /// Rows at most, 1 to 100; goes with `offset`
    #[param(inline)]
    pub limit: Param<Within<1, 100>>,
    /// Rows to skip
    #[param(inline)]
    pub offset: Param<Within<0, { i64::MAX }>>,
    /// Only what comes behind the page before: as the `Link` header of that page has it; goes with `limit`
    pub after: Option<String>,
    #[serde(rename = "\0target")]
    #[param(ignore)]
    pub(crate) target: Option<String>,
}

/// LIMIT and OFFSET of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Rows at most; -1 = all.
    pub limit: i64,
    pub offset: i64,
    /// The number of the page, where `per_page` was sent.
    pub numbered: Option<i64>,
    /// Which list this is a page of.
    place: Option<Arc<Place>>,
    /// Behind which row it begins.
    after: Option<Arc<Vec<Value>>>,
}

impl Page {
    /// The `count` values by which the list is ordered, of the row behind which this page begins.
    ///
    /// # Errors
    /// 422 where the cursor has others.
    pub fn after(&self, count: usize) -> Result<Option<Arc<Vec<Value>>>> {
        match &self.after {
            Some(values) if values.len() != count => {
                Err(Error::field("after", "is not a cursor of this list"))
            }
            after => Ok(after.clone()),
        }
    }

    /// What a statement of the list with this order needs for the page: the condition for what comes behind the page
    /// before, and the values of that and of [`Page::SQL`].
    ///
    /// # Errors
    /// As [`Page::after`].
    pub fn narrow<'a>(
        &'a self,
        order: &Order,
        condition: &mut String,
        params: &mut Vec<(&'static str, &'a dyn ToSql)>,
    ) -> Result<()> {
        self.after(order.columns.len())?;
        if let Some(values) = self.after.as_deref() {
            condition.push_str(" AND ");
            condition.push_str(&order.beyond());
            params.extend(cursor::named(values));
        }
        params.extend(self.params());
        Ok(())
    }

    /// Another part of the same list.
    pub fn part(&self, limit: i64, offset: i64) -> Page {
        Page {
            limit,
            offset,
            ..self.clone()
        }
    }

    /// Whether more may come behind a page with so many rows.
    pub fn is_full(&self, rows: usize) -> bool {
        self.limit > 0 && i64::try_from(rows).is_ok_and(|rows| rows == self.limit)
    }

    /// The `Link` to what comes behind the row with these values.
    pub fn link(&self, values: &[Value]) -> Option<String> {
        self.place
            .as_ref()
            .map(|place| place.link(self.limit, values))
    }

    /// [`Page::link`] behind the last of `rows`, found again by its id in `from`.
    ///
    /// # Errors
    /// The store's.
    pub fn next<T>(
        &self,
        tx: &Tx<'_>,
        order: &Order,
        from: &str,
        rows: &[T],
        id: impl FnOnce(&T) -> (&'static str, &dyn ToSql),
    ) -> Result<Option<String>> {
        match rows.last() {
            Some(last) if self.is_full(rows.len()) && self.place.is_some() => {
                let values = cursor::of_row(tx, order.columns, from, id(last))?;
                Ok(self.link(&values))
            }
            _ => Ok(None),
        }
    }

    /// The end of a statement, to go with [`Page::params`].
    pub const SQL: &str = "LIMIT :limit OFFSET :offset";

    /// The part of rows that are all at hand.
    pub fn of<'a, T>(&self, rows: &'a [T]) -> &'a [T] {
        let from = usize::try_from(self.offset).unwrap_or(0).min(rows.len());
        let rest = &rows[from..];
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        &rest[..limit.min(rest.len())]
    }

    /// The values of [`Page::SQL`].
    pub fn params(&self) -> [(&'static str, &dyn ToSql); 2] {
        [(":limit", &self.limit), (":offset", &self.offset)]
    }

    /// The rows of this page, of `total` that there are.
    pub fn list<T>(&self, data: Vec<T>, total: i64) -> List<T> {
        List {
            data,
            total,
            meta: self.meta(total),
            next: None,
        }
    }

    /// [`Page::list`], with the `Link` to the next page.
    pub fn linked<T>(&self, data: Vec<T>, total: i64, next: Option<String>) -> List<T> {
        List {
            next,
            ..self.list(data, total)
        }
    }

    /// Where this page lies, if the client counts pages by `per_page`.
    pub fn meta(&self, total: i64) -> Option<PageMeta> {
        self.numbered.map(|page| PageMeta {
            total,
            page,
            per_page: self.limit,
        })
    }
}

impl PageQuery {
    /// Checks the numbers.
    ///
    /// # Errors
    /// 422 naming each parameter that is out of range, or a mix of both ways.
    pub fn page(&self) -> Result<Page> {
        let mut fields = Fields::default();
        let page = self.read(&mut fields);
        fields.finish()?;
        Ok(page)
    }

    /// [`PageQuery::page`], where more than the page may be wrong.
    pub fn read(&self, fields: &mut Fields) -> Page {
        let page = self.page.read(fields, "page").map(|n| n.0);
        let size = self.page_size.read(fields, "page_size").map(|n| n.0);
        let per_page = self.per_page.read(fields, "per_page").map(|n| n.0);
        let limit = self.limit.read(fields, "limit").map(|n| n.0);
        let offset = self.offset.read(fields, "offset").map(|n| n.0);
        if (page.is_some() || size.is_some() || per_page.is_some())
            && (limit.is_some() || offset.is_some())
        {
            fields.push(
                "limit",
                "cannot be combined with page; use page and page_size, or limit and offset",
            );
        }
        let numbered = per_page.map(|_| page.unwrap_or(1));
        let size = size.or(per_page);
        let place = self
            .target
            .as_deref()
            .map(|target| Arc::new(Place::new(target)));
        let mut after = None;
        if let (Some(text), Some(place)) = (&self.after, &place) {
            if page.is_some() || offset.is_some() {
                fields.push("after", "cannot be combined with page or offset");
            }
            match place.decode(text) {
                Ok(values) => after = Some(Arc::new(values)),
                Err(e) => fields.push("after", e.message().trim_start_matches("after ").to_owned()),
            }
        }
        match (page, size) {
            (None, None) => Page {
                limit: limit.unwrap_or(-1),
                offset: offset.unwrap_or(0),
                numbered,
                place,
                after,
            },
            (page, size) => {
                let size = size.unwrap_or(20);
                Page {
                    limit: size,
                    offset: (page.unwrap_or(1) - 1).saturating_mul(size),
                    numbered,
                    place,
                    after,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &[(&str, &str)]) -> Result<Page> {
        let object: serde_json::Map<_, _> = query
            .iter()
            .map(|(k, v)| ((*k).to_string(), serde_json::Value::from(*v)))
            .collect();
        serde_json::from_value::<PageQuery>(object.into())
            .unwrap()
            .page()
    }

    #[test]
    fn both_ways_of_paging() {
        assert_eq!(
            page(&[]).unwrap(),
            Page {
                limit: -1,
                offset: 0,
                numbered: None,
                place: None,
                after: None,
            }
        );
        assert_eq!(
            page(&[("page", "3"), ("per_page", "10")]).unwrap(),
            Page {
                limit: 10,
                offset: 20,
                numbered: Some(3),
                place: None,
                after: None,
            }
        );
        assert_eq!(
            page(&[("page", "2")]).unwrap(),
            Page {
                limit: 20,
                offset: 20,
                numbered: None,
                place: None,
                after: None,
            }
        );
        assert_eq!(
            page(&[("limit", "5"), ("offset", "7")]).unwrap(),
            Page {
                limit: 5,
                offset: 7,
                numbered: None,
                place: None,
                after: None,
            }
        );
        assert_eq!(
            page(&[("page", "9223372036854775807"), ("page_size", "100")])
                .unwrap()
                .offset,
            i64::MAX
        );
        for bad in [
            [("page", "0")],
            [("page_size", "101")],
            [("limit", "x")],
            [("offset", "-1")],
            [("page", "")],
        ] {
            assert_eq!(
                page(&bad).unwrap_err().code(),
                "VALIDATION_FAILED",
                "{bad:?}"
            );
        }
        assert!(page(&[("page", "1"), ("limit", "5")]).is_err());
    }
}
