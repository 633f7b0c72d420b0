//! AWS's list prices, us-east-1, without a free tier, as of November 2026. It must not know where units come from.

use super::Units;

/// The price of one unit of something.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// What is billed.
    pub of: &'static str,
    /// USD for one.
    pub usd: f64,
    /// How many of it there are.
    pub count: fn(&Units) -> f64,
}

/// All that is billed. Sources: the pricing pages of each service, <https://aws.amazon.com/lambda/pricing/> (arm64) and so on.
pub const PRICES: [Price; 9] = [
    Price { of: "SQS request (64 KiB)", usd: 0.40e-6, count: |units| units.sqs_requests as f64 },
    Price { of: "DynamoDB write request unit (1 KB, on demand)", usd: 0.625e-6, count: |units| units.dynamodb_writes as f64 },
    Price { of: "DynamoDB read request unit (4 KB, on demand)", usd: 0.125e-6, count: |units| units.dynamodb_half_reads as f64 / 2.0 },
    Price { of: "S3 PUT, POST or LIST request", usd: 5e-6, count: |units| units.s3_puts as f64 },
    Price { of: "S3 GET or HEAD request", usd: 0.4e-6, count: |units| units.s3_gets as f64 },
    Price { of: "KMS request", usd: 3e-6, count: |units| units.kms_requests as f64 },
    Price { of: "Lambda call", usd: 0.20e-6, count: |units| units.function_calls as f64 },
    Price { of: "Lambda GB-second (arm64)", usd: 0.0000133334, count: |units| units.function_mb_milliseconds as f64 / 1024.0 / 1000.0 },
    Price { of: "API Gateway HTTP API request", usd: 1.0e-6, count: |units| units.api_requests as f64 },
];

/// What units cost, USD.
pub fn price(units: &Units) -> f64 {
    PRICES.iter().map(|price| price.usd * (price.count)(units)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_the_sum_over_all_units() {
        let units = Units {
            sqs_requests: 1_000_000,
            dynamodb_writes: 1_000_000,
            dynamodb_half_reads: 2_000_000,
            s3_puts: 1_000_000,
            s3_gets: 1_000_000,
            kms_requests: 1_000_000,
            function_calls: 1_000_000,
            function_mb_milliseconds: 1024 * 1000 * 1_000_000,
            api_requests: 1_000_000,
        };
        assert!((price(&units) - (0.40 + 0.625 + 0.125 + 5.0 + 0.4 + 3.0 + 0.20 + 13.3334 + 1.0)).abs() < 1e-9);
        assert_eq!(price(&Units::default()), 0.0);
    }
}
