//! What a deployed stack must hold, read from infra/template.yaml: each test names the fault of the catalogue that it keeps away. It
//! must not need AWS, and must not say how the template looks where that does not matter.

mod pages;
mod rights;
mod sam;
mod template;
mod yaml;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use template::{Template, target, text, texts};

/// C4: without it Lambda takes every answer for success of the whole batch, or repeats all of it.
#[test]
fn every_sqs_event_answers_for_each_message_of_its_batch() {
    for (function, event, properties) in Template::read().events("SQS") {
        assert_eq!(texts(&properties["FunctionResponseTypes"]), ["ReportBatchItemFailures"], "{function}.{event}");
    }
}

/// C7: throttled receives count as tries, so healthy tickets would reach the dead-letter queue.
#[test]
fn a_message_stays_hidden_for_six_times_the_functions_timeout_and_has_five_tries() {
    let template = Template::read();
    for (queue, function) in template.polled() {
        let hidden = template.properties(queue)["VisibilityTimeout"].as_i64().expect("seconds");
        let timeout = template.properties(function)["Timeout"].as_i64().expect("seconds");
        assert!(hidden >= 6 * timeout, "{queue}: {hidden} s for a timeout of {timeout} s");
        assert!(hidden <= 43_200, "{queue}: SQS takes 12 hours at most");
        let tries = template.properties(queue)["RedrivePolicy"]["maxReceiveCount"].as_i64().expect("a number");
        assert!(tries >= 5, "{queue}: {tries} tries");
    }
}

/// C17: what a filter does not match is deleted.
#[test]
fn no_queue_of_work_is_filtered() {
    for (function, event, properties) in Template::read().events("SQS") {
        assert!(properties.get("FilterCriteria").is_none(), "{function}.{event}: filters delete what they do not match");
    }
}

/// C7, C15: what cannot be done is kept for two weeks, and somebody hears of it.
#[test]
fn every_queue_has_a_dead_letter_queue_and_every_dead_letter_queue_an_alarm() {
    let template = Template::read();
    let polled: BTreeSet<&str> = template.polled().iter().map(|(queue, _)| *queue).collect();
    let mut dead = BTreeSet::new();
    for queue in &polled {
        dead.insert(template.dead_letters_of(queue).unwrap_or_else(|| panic!("{queue} has no dead-letter queue")));
    }
    assert_eq!(dead.len(), polled.len(), "one each");
    let queues: BTreeSet<&str> = template.of_type("AWS::SQS::Queue").iter().map(|(name, _)| *name).collect();
    assert_eq!(queues, polled.union(&dead).copied().collect(), "a queue that is neither polled nor holds dead letters");
    for queue in dead {
        assert_eq!(template.properties(queue)["MessageRetentionPeriod"], 1_209_600, "{queue}");
        assert!(is_watched(&template, "ApproximateNumberOfMessagesVisible", queue, 0), "nobody hears of what lies in {queue}");
    }
}

/// Pollers of a queue cost some hundred thousand requests a month, idle or not; and waiting belongs to the table.
#[test]
fn exactly_two_queues_are_polled_each_by_its_function() {
    let polled =
        Template::read().polled().into_iter().map(|(queue, function)| (queue.to_string(), function.to_string())).collect::<Vec<_>>();
    let table = [("PlanQueue", "PlanFunction"), ("DeliverQueue", "DeliverFunction")];
    assert_eq!(polled, table.map(|(queue, function)| (queue.to_string(), function.to_string())));
}

/// A ticket is small work, ten at once; a message for plan may take the whole call, and must not hold nine others.
#[test]
fn deliver_takes_ten_tickets_at_once_and_plan_one_message() {
    let batches: Vec<(String, Value)> =
        Template::read().events("SQS").into_iter().map(|(function, _, event)| (function.to_string(), event["BatchSize"].clone())).collect();
    assert_eq!(batches, [("PlanFunction".to_string(), json!(1)), ("DeliverFunction".to_string(), json!(10))]);
}

/// C10: Lambda stops what calls itself after some 16 calls. A lane at work does; nothing else may.
#[test]
fn only_deliver_may_call_itself_in_a_loop() {
    for (name, function) in Template::read().functions() {
        let loops = function["Properties"].get("RecursiveLoop").cloned().unwrap_or(Value::Null);
        let right = if name == "DeliverFunction" { json!("Allow") } else { Value::Null };
        assert_eq!(loops, right, "{name}");
    }
}

/// C14: 2 to 1,000 is all that can be said there, so "one sender at a time" is the lease's to say.
#[test]
fn how_many_calls_run_at_once_is_a_parameter_between_two_and_a_thousand() {
    let template = Template::read();
    let mut all = 0;
    for (function, event, properties) in template.events("SQS") {
        let parameter = properties["ScalingConfig"]["MaximumConcurrency"]["Ref"].as_str();
        let parameter = &template.0["Parameters"][parameter.unwrap_or_else(|| panic!("{function}.{event}: no parameter"))];
        assert_eq!((&parameter["MinValue"], &parameter["MaxValue"]), (&json!(2), &json!(1000)), "{function}.{event}");
        let default = parameter["Default"].as_i64().expect("a number");
        assert!(default >= 2, "{function}.{event} asks for {default}");
        all += default;
    }
    // The minute's call and the API have theirs from the rest.
    assert!(all <= 7, "a fresh account has ten calls at once in all, and {all} are asked for");
}

/// Fresh accounts have ten calls at once, and refuse to reserve any of them.
#[test]
fn no_function_reserves_concurrency() {
    for (name, function) in Template::read().functions() {
        for key in ["ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig"] {
            assert!(function["Properties"].get(key).is_none(), "{name}: {key}");
        }
    }
}

/// Logs that Lambda makes by itself are kept for ever, and paid for as long.
#[test]
fn every_function_and_the_api_have_logs_that_end() {
    let template = Template::read();
    let mut groups: Vec<&str> = Vec::new();
    for (name, function) in template.functions() {
        let group = target(&function["Properties"]["LoggingConfig"]["LogGroup"]);
        assert_eq!(group, name.replace("Function", "Logs"), "{name}");
        groups.push(group);
    }
    groups.push(target(&template.properties("Api")["AccessLogSettings"]["DestinationArn"]));
    let all: Vec<&str> = template.of_type("AWS::Logs::LogGroup").iter().map(|(name, _)| *name).collect();
    assert_eq!(groups, all);
    for group in groups {
        assert_eq!(template.properties(group)["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{group}");
    }
}

/// S22: a token stands in a header, a key of a row may stand in a query.
#[test]
fn the_apis_log_holds_no_headers_and_no_queries() {
    let template = Template::read();
    let format = template.properties("Api")["AccessLogSettings"]["Format"].as_str().expect("a format").to_lowercase();
    serde_json::from_str::<Value>(&format).expect("a line is JSON");
    for word in ["authorization", "header", "query", "$context.authorizer", "cookie"] {
        assert!(!format.contains(word), "the API's log holds {word}");
    }
}

/// The router knows the paths and checks the tokens, so that a new call needs no new template.
#[test]
fn everything_that_the_api_is_asked_goes_to_configure_in_bounds() {
    let template = Template::read();
    let [(function, _, event)] = template.events("HttpApi")[..] else { panic!("one event") };
    assert_eq!(function, "ConfigureFunction");
    assert_eq!((target(&event["ApiId"]), &event["PayloadFormatVersion"]), ("Api", &json!("2.0")));
    for key in ["Path", "Method", "Auth"] {
        assert!(event.get(key).is_none(), "{key} would leave something out");
    }
    let throttled = &template.properties("Api")["DefaultRouteSettings"];
    assert_eq!(*throttled, json!({"ThrottlingRateLimit": {"Ref": "ApiRateLimit"}, "ThrottlingBurstLimit": {"Ref": "ApiBurst"}}));
}

/// C2: whatever becomes of messages, the sweep finds what is due; so it must run, and its end must be heard.
#[test]
fn plan_sweeps_every_minute_and_somebody_hears_when_it_does_not() {
    let template = Template::read();
    let [(function, _, event)] = template.events("Schedule")[..] else { panic!("one schedule") };
    assert_eq!((function, &event["Schedule"]), ("PlanFunction", &json!("rate(1 minute)")));
    // A call that fails is not repeated: the next minute comes anyway.
    assert_eq!(template.properties("PlanFunction")["EventInvokeConfig"]["MaximumRetryAttempts"], 0);
    let alarm = template.properties("SweepAlarm");
    assert_eq!((&alarm["MetricName"], target(&alarm["Dimensions"][0]["Value"])), (&json!("Invocations"), "PlanFunction"));
    assert_eq!((&alarm["ComparisonOperator"], &alarm["TreatMissingData"]), (&json!("LessThanThreshold"), &json!("breaching")));
}

/// Whether an alarm goes off where a metric of a resource is above `most`.
fn is_watched(template: &Template, metric: &str, resource: &str, most: i64) -> bool {
    template.of_type("AWS::CloudWatch::Alarm").iter().any(|(_, alarm)| {
        let alarm = &alarm["Properties"];
        alarm["MetricName"] == metric
            && target(&alarm["Dimensions"][0]["Value"]) == resource
            && alarm["ComparisonOperator"] == "GreaterThanThreshold"
            && alarm["Threshold"].as_i64().is_some_and(|threshold| threshold <= most)
    })
}

#[test]
fn what_goes_wrong_is_heard_of() {
    let template = Template::read();
    for (function, _) in template.functions() {
        assert!(is_watched(&template, "Errors", function, 0), "errors of {function}");
        assert!(is_watched(&template, "Throttles", function, 0), "throttled calls of {function}");
    }
    for (queue, function) in template.polled() {
        let hidden = template.properties(queue)["VisibilityTimeout"].as_i64().expect("seconds");
        assert!(is_watched(&template, "ApproximateAgeOfOldestMessage", queue, 14_400), "age of messages of {queue} for {function}");
        assert!(!is_watched(&template, "ApproximateAgeOfOldestMessage", queue, hidden + 900), "{queue}: an alarm at every repetition");
    }
    assert!(is_watched(&template, "5xx", "Api", 0), "errors of the API");
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        assert_eq!(alarm["Properties"]["AlarmActions"], json!([{"Ref": "AlarmTopic"}]), "{name} tells nobody");
    }
}

/// The attributes that the store of shared/backend-aws reads and writes: keys, three indexes with a summary, the expiry.
#[test]
fn the_table_has_the_keys_and_indexes_of_the_store() {
    let template = Template::read();
    let table = template.properties("Table");
    let keys = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    assert_eq!(table["KeySchema"], keys("pk", "sk"));
    let indexes = table["GlobalSecondaryIndexes"].as_array().expect("indexes");
    let expected = ["first", "second", "third"].iter().enumerate().map(|(index, name)| {
        let i = index + 1;
        json!({
            "IndexName": name,
            "KeySchema": keys(&format!("i{i}p"), &format!("i{i}s")),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": [format!("i{i}m"), "x"]},
        })
    });
    assert_eq!(*indexes, expected.collect::<Vec<_>>());
    assert!(table.get("LocalSecondaryIndexes").is_none(), "a local index bounds a partition to 10 GB");
    for attribute in table["AttributeDefinitions"].as_array().expect("attributes") {
        assert_eq!(attribute["AttributeType"], "S", "{attribute}");
    }
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": "x", "Enabled": true}));
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
}

/// G8: what was sent, and what the other side has, is known from nowhere else.
#[test]
fn what_was_delivered_outlives_the_stack() {
    let template = Template::read();
    for name in ["Table", "Bucket", "Key"] {
        let resource = &template.0["Resources"][name];
        let kept = resource["DeletionPolicy"].as_str().is_some_and(|policy| policy.starts_with("Retain"));
        assert!(kept && resource["UpdateReplacePolicy"] == "Retain", "{name} would go with the stack, or with a change of it");
    }
    let table = template.properties("Table");
    assert_eq!(table["PointInTimeRecoverySpecification"], json!({"PointInTimeRecoveryEnabled": true}));
    assert_eq!(table["DeletionProtectionEnabled"], json!({"Fn::If": ["IsProd", true, false]}));
    assert!(template.holds("IsProd", &[("Environment", "prod")]) && !template.holds("IsProd", &[]));
}

#[test]
fn objects_are_private_encrypted_and_do_not_pile_up() {
    let template = Template::read();
    let bucket = template.properties("Bucket");
    let public = bucket["PublicAccessBlockConfiguration"].as_object().expect("public access is blocked");
    assert!(public.len() == 4 && public.values().all(|blocked| *blocked == true), "{public:?}");
    assert!(bucket.get("BucketEncryption").is_some() && bucket.get("VersioningConfiguration").is_none());
    let rules = bucket["LifecycleConfiguration"]["Rules"].as_array().expect("rules");
    let rule = |id: &str| rules.iter().find(|rule| rule["Id"] == id).unwrap_or_else(|| panic!("a rule {id}"));
    assert_eq!(rule("unfinished-uploads")["AbortIncompleteMultipartUpload"], json!({"DaysAfterInitiation": 1}));
    assert_eq!((&rule("pages")["Prefix"], &rule("pages")["ExpirationInDays"]), (&json!("pages/"), &json!({"Ref": "PagesExpireDays"})));
    // The first day of an object may end a moment after it was written.
    let upload_days = engine::push::UPLOAD_SECONDS / 86_400 + 1;
    assert_eq!((&rule("uploads")["Prefix"], &rule("uploads")["ExpirationInDays"]), (&json!("uploads/"), &json!(upload_days)));
    // Snapshots say what the other side has, and plans what is still owed: nothing but the engine may delete them.
    for rule in rules.iter().filter(|rule| rule.get("ExpirationInDays").is_some()) {
        assert!(["pages/", "athena/", "uploads/"].contains(&rule["Prefix"].as_str().expect("a prefix")), "{rule}");
    }
    let policy = &template.properties("BucketPolicy")["PolicyDocument"]["Statement"][0];
    assert_eq!((&policy["Effect"], &policy["Condition"]), (&json!("Deny"), &json!({"Bool": {"aws:SecureTransport": "false"}})));
}

/// G9: a copy of a stack has destinations, schedules and a backlog of its own, and would send all of it a second time.
#[test]
fn a_stack_on_a_restored_table_sends_nothing_until_it_is_told_to() {
    let template = Template::read();
    let sends = |given: &[(&str, &str)]| template.holds("Sends", given);
    assert!(sends(&[]), "a stack on its own table");
    assert!(!sends(&[("Sending", "off")]));
    assert!(!sends(&[("RestoredTable", "copy")]), "a restored table, and nothing said");
    assert!(!sends(&[("RestoredTable", "copy"), ("Sending", "off")]));
    assert!(sends(&[("RestoredTable", "copy"), ("Sending", "restored-table")]));
    assert!(!sends(&[("Sending", "restored-table")]), "there is none");
    for (function, event, properties) in template.events("SQS") {
        assert_eq!(properties["Enabled"], json!({"Fn::If": ["Sends", true, false]}), "{function}.{event} begins work");
    }
    for (function, event, properties) in template.events("Schedule") {
        assert_eq!(properties["State"], json!({"Fn::If": ["Sends", "ENABLED", "DISABLED"]}), "{function}.{event} begins work");
    }
    let others = ["SQS", "Schedule", "HttpApi"];
    for (name, function) in template.functions() {
        for event in function["Properties"]["Events"].as_object().expect("events").values() {
            assert!(others.contains(&event["Type"].as_str().expect("a type")), "{name}: another way to begin work: {event}");
        }
    }
}

#[test]
fn every_function_knows_where_things_are() {
    let template = Template::read();
    let table = json!({"Fn::If": ["HasRestoredTable", {"Ref": "RestoredTable"}, {"Ref": "Table"}]});
    let expected = json!({
        "PENSTOCK_TABLE": table,
        "PENSTOCK_BUCKET": {"Ref": "Bucket"},
        "PENSTOCK_KEY": {"Fn::GetAtt": ["Key", "Arn"]},
        "PENSTOCK_PLAN_QUEUE": {"Ref": "PlanQueue"},
        "PENSTOCK_DELIVER_QUEUE": {"Ref": "DeliverQueue"},
        "PENSTOCK_STACK": {"Ref": "AWS::StackId"},
        "PENSTOCK_ALLOW_RANGES": {"Ref": "AllowRanges"},
        "PENSTOCK_LOG": {"Ref": "LogLevel"},
    });
    assert_eq!(template.0["Globals"]["Function"]["Environment"]["Variables"], expected);
    // Whoever reads rows knows how much of them it can hold.
    let plan = &template.0["Resources"]["PlanFunction"]["Properties"];
    assert_eq!(plan["EphemeralStorage"]["Size"], json!({"Ref": "PlanStorage"}));
    let variables = json!({"PENSTOCK_DISK_MB": {"Ref": "PlanStorage"}, "PENSTOCK_ATHENA_WORKGROUP": {"Ref": "AthenaWorkgroup"}});
    assert_eq!(plan["Environment"]["Variables"], variables);
}

/// `sam build` runs `cargo lambda build --release --bin NAME` in CodeUri, a package of the workspace.
#[test]
fn every_function_is_a_package_that_sam_can_build_for_either_architecture() {
    let template = Template::read();
    let all = &template.0["Globals"]["Function"];
    assert_eq!((&all["Runtime"], &all["Handler"]), (&json!("provided.al2023"), &json!("bootstrap")));
    assert_eq!(all["Architectures"], json!([{"Ref": "Architecture"}]));
    let architecture = &template.0["Parameters"]["Architecture"];
    assert_eq!((&architecture["Default"], texts(&architecture["AllowedValues"])), (&json!("arm64"), vec!["arm64", "x86_64"]));
    for (name, function) in template.functions() {
        let package = name.strip_suffix("Function").expect("…Function").to_lowercase();
        let metadata = json!({"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": package}});
        assert_eq!(function["Metadata"], metadata, "{name}");
        assert_eq!(function["Properties"]["CodeUri"], format!("../functions/{package}"), "{name}");
    }
}

/// A parameter that nobody explains is one that nobody sets.
#[test]
fn samconfig_has_dev_and_prod_and_names_every_parameter() {
    let template = Template::read();
    let config = text("samconfig.toml");
    let parameters: BTreeSet<&str> = template.part("Parameters").map(|(name, _)| name).collect();
    for environment in ["dev", "prod"] {
        assert!(config.contains(&format!("\n[{environment}.deploy.parameters]\n")), "samconfig.toml has {environment}");
        assert!(config.contains(&format!("\"Environment={environment}\"")), "{environment} says so");
        assert!(config.contains(&format!("stack_name = \"penstock-{environment}\"")), "{environment} has a stack");
    }
    // `"Name=value",`, set or as a comment.
    let lines = config.lines().map(|line| line.trim().trim_start_matches("# "));
    let named: BTreeSet<&str> = lines.filter_map(|line| line.strip_prefix('"')?.split_once('=').map(|(name, _)| name)).collect();
    assert_eq!(named, parameters, "left is what samconfig.toml names, right what the template has");
    // What stands in a comment is what holds; examples of what has no default are not.
    for line in config.lines().filter_map(|line| line.trim().strip_prefix("# \"")) {
        let Some((name, value)) = line.trim_end_matches("\",").split_once('=') else { continue };
        let default = &template.0["Parameters"][name]["Default"];
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        assert!(default.is_empty() || default == value, "samconfig.toml says {name}={value}, and the template {default}");
    }
}
