//! Arrow arrays as cells: numbers stay numbers, times become RFC 3339 text, bytes base64, nested values JSON. It must not read files.

use crate::cell::Cell;
use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::MILLISECONDS_IN_DAY;
use arrow_array::types::*;
use arrow_array::*;
use arrow_schema::{DataType, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// A column, ready for cell after cell.
pub(crate) enum View<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    SharedText(&'a StringViewArray),
    Integer(&'a Int64Array),
    Short(&'a Int32Array),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    /// Everything else, looked at anew for each cell.
    Other(&'a dyn Array),
}

/// Why a value cannot be sent.
type Fault = String;

/// Whether cells of this type can be made at all.
pub(crate) fn check_type(data_type: &DataType) -> Result<(), String> {
    match data_type {
        DataType::Duration(_) | DataType::Interval(_) | DataType::Union(_, _) | DataType::RunEndEncoded(_, _) => {
            Err(format!("has the type {data_type}, which has no JSON form; cast it to text in the query that writes the file"))
        }
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) | DataType::LargeListView(f) => {
            check_type(f.data_type())
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|f| check_type(f.data_type())),
        DataType::Map(f, _) => check_type(f.data_type()),
        DataType::Dictionary(_, values) => check_type(values),
        _ => Ok(()),
    }
}

impl<'a> View<'a> {
    pub fn of(array: &'a dyn Array) -> View<'a> {
        match array.data_type() {
            DataType::Utf8 => View::Text(array.as_string()),
            DataType::LargeUtf8 => View::LargeText(array.as_string()),
            DataType::Utf8View => View::SharedText(array.as_string_view()),
            DataType::Int64 => View::Integer(array.as_primitive()),
            DataType::Int32 => View::Short(array.as_primitive()),
            DataType::Float64 => View::Float(array.as_primitive()),
            DataType::Boolean => View::Bool(array.as_boolean()),
            _ => View::Other(array),
        }
    }

    /// The cell of a row.
    #[inline]
    pub fn cell(&self, row: usize) -> Result<Cell<'a>, Fault> {
        Ok(match self {
            View::Text(a) if a.is_valid(row) => Cell::Text(a.value(row)),
            View::LargeText(a) if a.is_valid(row) => Cell::Text(a.value(row)),
            View::SharedText(a) if a.is_valid(row) => Cell::Text(a.value(row)),
            View::Integer(a) if a.is_valid(row) => Cell::Integer(a.value(row)),
            View::Short(a) if a.is_valid(row) => Cell::Integer(i64::from(a.value(row))),
            View::Float(a) if a.is_valid(row) => return float(a.value(row)),
            View::Bool(a) if a.is_valid(row) => Cell::Bool(a.value(row)),
            View::Other(a) if a.is_valid(row) => return Ok(Cell::of(value(*a, row)?)),
            _ => Cell::Null,
        })
    }
}

fn float<'a>(f: f64) -> Result<Cell<'a>, Fault> {
    if f.is_finite() { Ok(Cell::Float(f)) } else { Err(format!("is {f}, which JSON cannot carry")) }
}

/// The value of a row as JSON. Depth is bounded by the file's schema.
fn value(array: &dyn Array, row: usize) -> Result<Value, Fault> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => short_float(array.as_primitive::<Float16Type>().value(row).to_f32())?,
        DataType::Float32 => short_float(array.as_primitive::<Float32Type>().value(row))?,
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row))?.to_value(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => STANDARD.encode(array.as_binary::<i32>().value(row)).into(),
        DataType::LargeBinary => STANDARD.encode(array.as_binary::<i64>().value(row)).into(),
        DataType::BinaryView => STANDARD.encode(array.as_binary_view().value(row)).into(),
        DataType::FixedSizeBinary(_) => STANDARD.encode(array.as_fixed_size_binary().value(row)).into(),
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) => time(array, row)?,
        DataType::Decimal32(_, scale) => decimal(&array.as_primitive::<Decimal32Type>().value(row).to_string(), *scale),
        DataType::Decimal64(_, scale) => decimal(&array.as_primitive::<Decimal64Type>().value(row).to_string(), *scale),
        DataType::Decimal128(_, scale) => decimal(&array.as_primitive::<Decimal128Type>().value(row).to_string(), *scale),
        DataType::Decimal256(_, scale) => decimal(&array.as_primitive::<Decimal256Type>().value(row).to_string(), *scale),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let index = value(dictionary.keys(), row)?.as_u64().unwrap_or_default();
            return value(dictionary.values().as_ref(), index as usize);
        }
        DataType::List(_) => list(array.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref())?,
        DataType::ListView(_) => list(array.as_list_view::<i32>().value(row).as_ref())?,
        DataType::LargeListView(_) => list(array.as_list_view::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(_, _) => list(array.as_fixed_size_list().value(row).as_ref())?,
        DataType::Struct(_) => structure(array.as_struct(), row)?,
        DataType::Map(_, _) => map(&array.as_map().value(row))?,
        other => return Err(format!("has the type {other}, which has no JSON form")),
    })
}

/// The number that a 32-bit float was written as: 0.1 and not 0.10000000149011612.
fn short_float(f: f32) -> Result<Value, Fault> {
    let wide = f.to_string().parse::<f64>().unwrap_or(f64::from(f));
    Ok(float(wide)?.to_value())
}

/// A decimal as a number where a double gives it back digit by digit, else as text.
fn decimal(unscaled: &str, scale: i8) -> Value {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |d| ("-", d));
    let text = if scale <= 0 {
        let zeros = if digits == "0" { 0 } else { usize::from(scale.unsigned_abs()) };
        format!("{sign}{digits}{}", "0".repeat(zeros))
    } else {
        let scale = scale.unsigned_abs() as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    };
    if let Ok(i) = text.parse::<i64>() {
        return i.into();
    }
    if let Ok(u) = text.parse::<u64>() {
        return u.into();
    }
    match text.parse::<f64>() {
        Ok(f) if f.to_string() == text => f.into(),
        _ => text.into(),
    }
}

/// Times are UTC, as Arrow keeps them; those without a zone are taken as UTC.
fn time(array: &dyn Array, row: usize) -> Result<Value, Fault> {
    let out_of_range = || "is a time outside the years -9999 to 9999".to_owned();
    let day = |days: i64| -> Result<Value, Fault> {
        let span = jiff::Span::new().try_days(days).map_err(|_| out_of_range())?;
        let date = jiff::civil::date(1970, 1, 1).checked_add(span).map_err(|_| out_of_range())?;
        Ok(date.to_string().into())
    };
    let clock = |nanoseconds: i64| -> Result<Value, Fault> {
        let time = jiff::civil::Time::midnight().checked_add(jiff::SignedDuration::from_nanos(nanoseconds)).map_err(|_| out_of_range())?;
        Ok(time.to_string().into())
    };
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000_i64,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    match array.data_type() {
        DataType::Date32 => day(i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => day(array.as_primitive::<Date64Type>().value(row).div_euclid(MILLISECONDS_IN_DAY)),
        DataType::Time32(TimeUnit::Second) => clock(i64::from(array.as_primitive::<Time32SecondType>().value(row)) * 1_000_000_000),
        DataType::Time32(_) => clock(i64::from(array.as_primitive::<Time32MillisecondType>().value(row)) * 1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => {
            clock(array.as_primitive::<Time64MicrosecondType>().value(row).checked_mul(1_000).ok_or_else(out_of_range)?)
        }
        DataType::Time64(_) => clock(array.as_primitive::<Time64NanosecondType>().value(row)),
        DataType::Timestamp(u, _) => {
            let count = match u {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
            };
            let nanoseconds = i128::from(count) * i128::from(unit(u));
            Ok(jiff::Timestamp::from_nanosecond(nanoseconds).map_err(|_| out_of_range())?.to_string().into())
        }
        other => Err(format!("has the type {other}, which is not a time")),
    }
}

fn list(items: &dyn Array) -> Result<Value, Fault> {
    (0..items.len()).map(|i| value(items, i)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn structure(array: &StructArray, row: usize) -> Result<Value, Fault> {
    let mut members = Map::new();
    for (field, column) in array.fields().iter().zip(array.columns()) {
        members.insert(field.name().clone(), value(column.as_ref(), row)?);
    }
    Ok(Value::Object(members))
}

/// A map with text or whole-number keys becomes an object.
fn map(entries: &StructArray) -> Result<Value, Fault> {
    let mut members = Map::new();
    let (keys, values) = (entries.column(0), entries.column(1));
    for i in 0..entries.len() {
        let key = match value(keys.as_ref(), i)? {
            Value::String(s) => s,
            Value::Number(n) if !n.is_f64() => n.to_string(),
            other => return Err(format!("holds a map with the key {other}; only texts and whole numbers can name a member")),
        };
        if members.contains_key(&key) {
            return Err(format!("holds a map with the key \"{key}\" twice"));
        }
        members.insert(key, value(values.as_ref(), i)?);
    }
    Ok(Value::Object(members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decimals_are_numbers_only_where_no_digit_is_lost() {
        assert_eq!(decimal("12345", 2), json!(123.45));
        assert_eq!(decimal("-5", 2), json!(-0.05));
        assert_eq!(decimal("10000", 2), json!(100));
        assert_eq!(decimal("7", -2), json!(700));
        assert_eq!(decimal("0", 3), json!(0));
        assert_eq!(decimal("12345678901234567890123", 3), json!("12345678901234567890.123"));
        assert_eq!(decimal("123456789012345678901234567890", 0), json!("123456789012345678901234567890"));
    }

    #[test]
    fn times_become_rfc_3339_text() {
        let at = |a: &dyn Array| value(a, 0).unwrap();
        assert_eq!(at(&TimestampMillisecondArray::from(vec![1_700_000_000_123])), json!("2023-11-14T22:13:20.123Z"));
        assert_eq!(at(&TimestampSecondArray::from(vec![-1]).with_timezone("Europe/Berlin")), json!("1969-12-31T23:59:59Z"));
        assert_eq!(at(&Date32Array::from(vec![19_000])), json!("2022-01-08"));
        assert_eq!(at(&Date64Array::from(vec![-1])), json!("1969-12-31"));
        assert_eq!(at(&Time64MicrosecondArray::from(vec![3_723_000_001])), json!("01:02:03.000001"));
        assert!(value(&TimestampSecondArray::from(vec![i64::MAX]), 0).is_err());
    }

    #[test]
    fn floats_keep_the_digits_they_were_written_with_and_nan_is_refused() {
        assert_eq!(value(&Float32Array::from(vec![0.1]), 0).unwrap(), json!(0.1));
        assert!(View::of(&Float64Array::from(vec![f64::NAN])).cell(0).is_err());
        assert!(value(&Float32Array::from(vec![f32::INFINITY]), 0).is_err());
    }

    #[test]
    fn dictionaries_bytes_and_nested_values_have_a_json_form() {
        let dictionary: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("b"), Some("a")].into_iter().collect();
        assert_eq!(value(&dictionary, 3).unwrap(), json!("a"));
        assert_eq!(value(&dictionary, 1).unwrap(), json!(null));
        assert_eq!(value(&BinaryArray::from(vec![&[255u8, 0][..]]), 0).unwrap(), json!("/wA="));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
        assert_eq!(value(&list, 0).unwrap(), json!([1, null]));
    }
}
