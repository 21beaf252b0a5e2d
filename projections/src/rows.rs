//! Rows as they are in the table, for comparing and repairing: whole, raw, and replaced only as they were read.
//!
//! Used by replay and verify. The projector never comes here: it only adds parts (`view.rs`).

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::scan::{ScanError, ScanOutput},
    types::{AttributeValue, KeysAndAttributes},
};
use aws_smithy_async::future::pagination_stream::PaginationStream;

use crate::{ConnectionsView, Row, ViewError};

/// A row with every attribute it has, known to us or not.
pub(crate) type RawRow = HashMap<String, AttributeValue>;

/// DynamoDB's limit of keys in a BatchGetItem.
pub(crate) const BATCH: usize = 100;

/// The table page by page.
pub(crate) struct RowPages(PaginationStream<Result<ScanOutput, SdkError<ScanError, HttpResponse>>>);

impl RowPages {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RawRow>>, ViewError> {
        let page = self.0.next().await.transpose();
        let page = page.map_err(|error| ViewError::unavailable("reading all connections", error))?;
        Ok(page.map(|page| page.items.unwrap_or_default()))
    }
}

impl ConnectionsView {
    /// Every row, in no order.
    pub(crate) fn pages(&self) -> RowPages {
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(1000);
        RowPages(scan.into_paginator().send())
    }

    /// Up to [`BATCH`] rows, consistently; those that are not there are left out.
    pub(crate) async fn raw_rows(&self, connections: &[String]) -> Result<HashMap<String, RawRow>, ViewError> {
        let what = || format!("reading {} rows", connections.len());
        let keys = connections.iter().map(|name| HashMap::from([key(name)]));
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys.collect())).consistent_read(true).build();
        let mut wanted = wanted.map(|wanted| HashMap::from([(self.table.clone(), wanted)])).ok();
        let mut rows = HashMap::new();
        while let Some(keys) = wanted.take().filter(|keys| !keys.is_empty()) {
            let got = self.client.batch_get_item().set_request_items(Some(keys)).send().await;
            let got = got.map_err(|error| ViewError::unavailable(what(), error))?;
            let found = got.responses.and_then(|mut tables| tables.remove(&self.table)).unwrap_or_default();
            rows.extend(found.into_iter().filter_map(|row| Some((row.get("connection")?.as_s().ok()?.clone(), row))));
            wanted = got.unprocessed_keys;
        }
        Ok(rows)
    }

    /// What `row` should be in the table.
    pub(crate) fn wanted(&self, row: &Row) -> RawRow {
        let mut wanted = self.attributes(row);
        wanted.extend([key(row.connection.as_str())]);
        wanted
    }

    /// Puts `wanted` (or nothing) in the place of the row that is there as it was read (or was not). False if it has
    /// changed since.
    pub(crate) async fn replace(
        &self,
        name: &str,
        wanted: Option<RawRow>,
        as_read: &RawRow,
    ) -> Result<bool, ViewError> {
        let what = || format!("replacing the row of connection {name}");
        let condition = Unchanged::since(as_read, wanted.as_ref());
        let (names, values) = (Some(condition.names), Some(condition.values).filter(|values| !values.is_empty()));
        match wanted {
            Some(row) => {
                let put = self.client.put_item().table_name(&self.table).set_item(Some(row));
                let put = put.condition_expression(condition.expression).set_expression_attribute_names(names);
                match put.set_expression_attribute_values(values).send().await {
                    Ok(_) => Ok(true),
                    Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => Ok(false),
                    Err(error) => Err(ViewError::unavailable(what(), error)),
                }
            }
            None => {
                let delete =
                    self.client.delete_item().table_name(&self.table).set_key(Some(HashMap::from([key(name)])));
                let delete = delete.condition_expression(condition.expression).set_expression_attribute_names(names);
                match delete.set_expression_attribute_values(values).send().await {
                    Ok(_) => Ok(true),
                    Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => Ok(false),
                    Err(error) => Err(ViewError::unavailable(what(), error)),
                }
            }
        }
    }
}

fn key(name: &str) -> (String, AttributeValue) {
    ("connection".to_owned(), AttributeValue::S(name.to_owned()))
}

/// The condition that a row is as it was read.
struct Unchanged {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Unchanged {
    /// Every attribute that was there is the same, and none that we would write has come.
    fn since(as_read: &RawRow, wanted: Option<&RawRow>) -> Unchanged {
        let mut condition = Unchanged { expression: String::new(), names: HashMap::new(), values: HashMap::new() };
        let mut terms = Vec::new();
        for (index, (name, value)) in as_read.iter().enumerate() {
            condition.names.insert(format!("#r{index}"), name.clone());
            condition.values.insert(format!(":r{index}"), value.clone());
            terms.push(format!("#r{index} = :r{index}"));
        }
        let all = ["connection", "opened_at", "closed_at", "lost_at", "live", "expires_at"];
        let new = wanted.into_iter().flat_map(HashMap::keys).map(String::as_str).chain(all);
        let new: std::collections::BTreeSet<&str> = new.filter(|name| !as_read.contains_key(*name)).collect();
        for (index, name) in new.into_iter().enumerate() {
            condition.names.insert(format!("#n{index}"), name.to_owned());
            terms.push(format!("attribute_not_exists(#n{index})"));
        }
        condition.expression = terms.join(" AND ");
        condition
    }
}
