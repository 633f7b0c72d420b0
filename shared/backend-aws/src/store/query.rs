//! Lists: a partition's documents, or an index partition's entries, in the order of bytes, page by page. It must not be asked for a decision
//! where it reads an index: entries lag.

use std::ops::Range;

use aws_sdk_dynamodb::types::AttributeValue;
use engine::port::{Index, Listed, PortError, Stored};

use super::AwsStore;
use super::item::{self, Item, SORT_LIMIT};
use crate::failure::failed;

/// Pages of one list, a megabyte each; beyond that somebody asks for what no function can hold.
const PAGES: usize = 2000;
/// Items of a page. DynamoDB ends a page at 1 MB in any case.
pub(crate) const PAGE: usize = 1000;
/// Items of a page after the first, at least.
const LATER_PAGE: usize = 100;

/// One list: which index, between which bounds, from which end.
struct Query<'a> {
    index: Option<&'static item::Names>,
    partition: &'a str,
    range: Range<&'a str>,
    newest_first: bool,
}

impl AwsStore {
    pub(super) async fn list_now(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        let query = Query { index: None, partition, range, newest_first: false };
        self.query(&query, limit, |item| item::stored(item, now)).await
    }

    pub(super) async fn list_index_now(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        let names = item::names(index);
        let query = Query { index: Some(names), partition, range, newest_first };
        self.query(&query, limit, |item| item::listed(item, names, now)).await
    }

    /// Pages through a range until `limit` of what `read` sees is there.
    async fn query<T>(
        &self,
        query: &Query<'_>,
        limit: usize,
        read: impl Fn(Item) -> Result<Option<T>, PortError>,
    ) -> Result<Vec<T>, PortError> {
        let mut found = Vec::new();
        // An empty partition or sort key cannot be asked for, and nothing lies there.
        if limit == 0 || query.partition.is_empty() || query.range.start >= query.range.end {
            return Ok(found);
        }
        let mut from = None;
        for number in 0..PAGES {
            // What is read is paid for, so no more than is missing; but where much has expired, not one by one.
            let least = if number == 0 { 1 } else { LATER_PAGE };
            let page = (limit - found.len()).clamp(least, PAGE);
            let (items, next) = self.page(query, page, from).await?;
            for item in items {
                if !query.holds(&item) {
                    continue;
                }
                if let Some(seen) = read(item)? {
                    found.push(seen);
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
            if next.is_none() {
                return Ok(found);
            }
            from = next;
        }
        Err(PortError::Failed(format!("{} goes on after {PAGES} pages: ask for less at once", self.call("Query"))))
    }

    async fn page(&self, query: &Query<'_>, page: usize, from: Option<Item>) -> Result<(Vec<Item>, Option<Item>), PortError> {
        let [partition, sort] = query.key_names();
        let mut call = self
            .client
            .query()
            .table_name(&*self.table)
            .consistent_read(query.index.is_none())
            .scan_index_forward(!query.newest_first)
            .limit(i32::try_from(page).unwrap_or(i32::MAX))
            .expression_attribute_values(":p", item::text(query.partition))
            .set_exclusive_start_key(from)
            .set_index_name(query.index.map(|names| names.index.to_owned()));
        let (start, end) = (at_most(query.range.start), at_most(query.range.end));
        // DynamoDB knows no empty key, and takes one condition on the sort key.
        let bounds = match (start.is_empty(), end.len() < query.range.end.len()) {
            (true, true) => String::new(),
            (false, true) => format!(" AND {sort} >= :s"),
            (true, false) => format!(" AND {sort} < :e"),
            (false, false) => format!(" AND {sort} BETWEEN :s AND :e"),
        };
        if bounds.contains(":s") {
            call = call.expression_attribute_values(":s", AttributeValue::S(start.to_owned()));
        }
        if bounds.contains(":e") {
            call = call.expression_attribute_values(":e", AttributeValue::S(end.to_owned()));
        }
        let call = call.key_condition_expression(format!("{partition} = :p{bounds}"));
        let answer = call.send().await.map_err(|error| failed(&self.call("Query"), &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }
}

impl Query<'_> {
    fn key_names(&self) -> [&'static str; 2] {
        match self.index {
            Some(names) => [names.attributes[0], names.attributes[1]],
            None => ["pk", "sk"],
        }
    }

    /// Whether an item lies in the range, whose bounds are a little wider where they are asked for.
    fn holds(&self, item: &Item) -> bool {
        let sort = item.get(self.key_names()[1]).and_then(|value| value.as_s().ok());
        sort.is_some_and(|sort| self.range.contains(&sort.as_str()))
    }
}

/// As much of a bound as DynamoDB takes: a page's start may be a byte longer than any key is.
fn at_most(bound: &str) -> &str {
    &bound[..bound.floor_char_boundary(SORT_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_cut_between_letters() {
        assert_eq!(at_most("ab"), "ab");
        assert_eq!(at_most(&"a".repeat(1025)).len(), 1024);
        assert_eq!(at_most(&format!("a{}", "é".repeat(512))).len(), 1023);
    }
}
