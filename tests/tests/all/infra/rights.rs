//! What each function may call (faults: S5, S21, S35): an exact table. Whoever widens a role writes it down here, and says why there.

use super::template::{Template, only, target, text, texts};
use serde_json::Value;

/// Every call that a role may make, on what, and under which condition; sorted.
const RIGHTS: &str = "\
ConfigureRole/configure dynamodb:BatchWriteItem on table, table/index/*
ConfigureRole/configure dynamodb:DeleteItem on table, table/index/*
ConfigureRole/configure dynamodb:GetItem on table, table/index/*
ConfigureRole/configure dynamodb:PutItem on table, table/index/*
ConfigureRole/configure dynamodb:Query on table, table/index/*
ConfigureRole/configure kms:Decrypt on Key for an organization
ConfigureRole/configure kms:GenerateDataKey on Key for an organization
ConfigureRole/configure logs:CreateLogStream on ConfigureLogs
ConfigureRole/configure logs:PutLogEvents on ConfigureLogs
ConfigureRole/configure s3:DeleteObject on Bucket/pushed/*, Bucket/uploads/*
ConfigureRole/configure s3:GetObject on Bucket/plans/*, Bucket/pages/*, Bucket/pushed/*, Bucket/uploads/*
ConfigureRole/configure s3:ListBucket on Bucket below plans/*, pages/*, pushed/*, uploads/*
ConfigureRole/configure s3:PutObject on Bucket/pushed/*, Bucket/uploads/*
ConfigureRole/configure sqs:SendMessage on PlanQueue, DeliverQueue
ConfigureRole/configure xray:PutTelemetryRecords on *
ConfigureRole/configure xray:PutTraceSegments on *
DeliverRole/deliver dynamodb:BatchWriteItem on table, table/index/*
DeliverRole/deliver dynamodb:DeleteItem on table, table/index/*
DeliverRole/deliver dynamodb:GetItem on table, table/index/*
DeliverRole/deliver dynamodb:PutItem on table, table/index/*
DeliverRole/deliver dynamodb:Query on table, table/index/*
DeliverRole/deliver kms:Decrypt on Key for an organization
DeliverRole/deliver logs:CreateLogStream on DeliverLogs
DeliverRole/deliver logs:PutLogEvents on DeliverLogs
DeliverRole/deliver s3:GetObject on Bucket/plans/*, Bucket/pages/*
DeliverRole/deliver s3:ListBucket on Bucket below plans/*, pages/*
DeliverRole/deliver s3:PutObject on Bucket/pages/*
DeliverRole/deliver sqs:DeleteMessage on DeliverQueue
DeliverRole/deliver sqs:GetQueueAttributes on DeliverQueue
DeliverRole/deliver sqs:ReceiveMessage on DeliverQueue
DeliverRole/deliver sqs:SendMessage on PlanQueue, DeliverQueue
DeliverRole/deliver xray:PutTelemetryRecords on *
DeliverRole/deliver xray:PutTraceSegments on *
PlanRole/athena if HasAthena athena:GetQueryExecution on workgroup/${AthenaWorkgroup}
PlanRole/athena if HasAthena athena:StartQueryExecution on workgroup/${AthenaWorkgroup}
PlanRole/athena if HasAthena athena:StopQueryExecution on workgroup/${AthenaWorkgroup}
PlanRole/athena if HasAthena glue:BatchGetPartition on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena glue:GetDatabase on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena glue:GetPartition on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena glue:GetPartitions on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena glue:GetTable on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena glue:GetTables on catalog, database/default, database/${AthenaDatabase}, table/${AthenaDatabase}/*
PlanRole/athena if HasAthena s3:AbortMultipartUpload on Bucket/athena/*
PlanRole/athena if HasAthena s3:DeleteObject on Bucket/athena/*
PlanRole/athena if HasAthena s3:GetBucketLocation on Bucket
PlanRole/athena if HasAthena s3:GetObject on Bucket/athena/*
PlanRole/athena if HasAthena s3:ListBucket on Bucket below athena/*
PlanRole/athena if HasAthena s3:ListBucketMultipartUploads on Bucket below athena/*
PlanRole/athena if HasAthena s3:ListMultipartUploadParts on Bucket/athena/*
PlanRole/athena if HasAthena s3:PutObject on Bucket/athena/*
PlanRole/plan dynamodb:BatchWriteItem on table, table/index/*
PlanRole/plan dynamodb:DeleteItem on table, table/index/*
PlanRole/plan dynamodb:GetItem on table, table/index/*
PlanRole/plan dynamodb:PutItem on table, table/index/*
PlanRole/plan dynamodb:Query on table, table/index/*
PlanRole/plan kms:Decrypt on Key for an organization
PlanRole/plan logs:CreateLogStream on PlanLogs
PlanRole/plan logs:PutLogEvents on PlanLogs
PlanRole/plan s3:AbortMultipartUpload on Bucket/plans/*, Bucket/snapshots/*, Bucket/pushed/*
PlanRole/plan s3:DeleteObject on Bucket/plans/*, Bucket/pages/*, Bucket/snapshots/*, Bucket/pushed/*, Bucket/uploads/*
PlanRole/plan s3:GetObject on Bucket/plans/*, Bucket/snapshots/*, Bucket/pushed/*
PlanRole/plan s3:ListBucket on Bucket below plans/*, pages/*, snapshots/*, pushed/*, uploads/*
PlanRole/plan s3:PutObject on Bucket/plans/*, Bucket/snapshots/*, Bucket/pushed/*
PlanRole/plan sqs:DeleteMessage on PlanQueue
PlanRole/plan sqs:GetQueueAttributes on PlanQueue
PlanRole/plan sqs:ReceiveMessage on PlanQueue
PlanRole/plan sqs:SendMessage on PlanQueue, DeliverQueue
PlanRole/plan xray:PutTelemetryRecords on *
PlanRole/plan xray:PutTraceSegments on *
PlanRole/sources if HasSourceBuckets s3:GetBucketLocation on SourceBuckets
PlanRole/sources if HasSourceBuckets s3:GetObject on SourceBuckets/*
PlanRole/sources if HasSourceBuckets s3:ListBucket on SourceBuckets
";

/// A role's policies as (name, with the condition it stands under; document).
fn policies<'a>(role: &str, properties: &'a Value) -> Vec<(String, &'a Value)> {
    let mut found = Vec::new();
    for policy in properties["Policies"].as_array().expect("a role has policies") {
        let (policy, under) = match policy.get("Fn::If") {
            Some(either) => {
                assert_eq!(either[2]["Ref"], "AWS::NoValue", "{role}: or else nothing");
                (&either[1], format!(" if {}", either[0].as_str().expect("a condition")))
            }
            None => (policy, String::new()),
        };
        let name = policy["PolicyName"].as_str().expect("a policy has a name");
        found.push((format!("{role}/{name}{under}"), &policy["PolicyDocument"]));
    }
    found
}

/// A resource of a statement, short.
fn shown(resource: &Value) -> String {
    if let Some(text) = resource.as_str() {
        return text.to_string();
    }
    let (name, value) = only(resource);
    let short = |text: &str| -> String {
        let text = text.replace(".Arn}", "}");
        // What stands before the service's own part of a name: this partition, region and account.
        let own = text.strip_prefix("arn:${AWS::Partition}:").and_then(|rest| rest.split_once(":${AWS::Region}:${AWS::AccountId}:"));
        own.map_or_else(|| text.replace("${Bucket}", "Bucket"), |(_, rest)| rest.to_string())
    };
    match name {
        "Fn::GetAtt" if value[1] == "Arn" => target(resource).to_string(),
        "Fn::Sub" if value.is_string() => short(value.as_str().expect("a text")),
        "Fn::Sub" => {
            let table = serde_json::json!({"Fn::If": ["HasRestoredTable", {"Ref": "RestoredTable"}, {"Ref": "Table"}]});
            assert_eq!(value[1], serde_json::json!({ "Name": table }), "the table that is worked on");
            short(value[0].as_str().expect("a text")).replace("table/${Name}", "table")
        }
        "Fn::Split" => shown_split(value),
        other => panic!("{other} in a resource"),
    }
}

/// The names of a list of buckets.
fn shown_split(value: &Value) -> String {
    let parts = &value[1]["Fn::Join"][1];
    let (between, names) = (parts[1]["Fn::Join"][0].as_str(), parts[1]["Fn::Join"][1]["Ref"].as_str());
    assert_eq!((&value[0], &parts[0]), (&Value::from(","), &Value::from("arn:aws:s3:::")), "{value}");
    match (between, parts.get(2).and_then(Value::as_str)) {
        (Some(",arn:aws:s3:::"), None) => names.expect("a parameter").to_string(),
        (Some("/*,arn:aws:s3:::"), Some("/*")) => format!("{}/*", names.expect("a parameter")),
        other => panic!("{other:?}"),
    }
}

fn condition(statement: &Value) -> String {
    let Some(condition) = statement.get("Condition") else { return String::new() };
    match only(condition) {
        ("StringLike", keys) if only(keys).0 == "s3:prefix" => format!(" below {}", texts(only(keys).1).join(", ")),
        ("Null", keys) if *keys == serde_json::json!({"kms:EncryptionContext:organization": "false"}) => " for an organization".into(),
        other => panic!("{other:?} as a condition"),
    }
}

fn rights(template: &Template) -> Vec<String> {
    let mut found = Vec::new();
    for (role, resource) in template.of_type("AWS::IAM::Role") {
        let properties = &resource["Properties"];
        assert!(properties.get("ManagedPolicyArns").is_none(), "{role}: policies that stand elsewhere");
        for (policy, document) in policies(role, properties) {
            for statement in document["Statement"].as_array().expect("statements") {
                assert_eq!(statement["Effect"], "Allow", "{policy}");
                assert!(statement.get("NotAction").is_none() && statement.get("NotResource").is_none(), "{policy}: all but something");
                let resources = match &statement["Resource"] {
                    Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
                    one => shown(one),
                };
                let actions = texts(&statement["Action"]).into_iter();
                found.extend(actions.map(|action| format!("{policy} {action} on {resources}{}", condition(statement))));
            }
        }
    }
    found.sort();
    found
}

/// S35.
#[test]
fn every_role_may_make_its_calls_and_no_others() {
    let found = rights(&Template::read());
    assert_eq!(found.join("\n"), RIGHTS.trim_end(), "left is what the template says, right what RIGHTS in this file allows");
}

/// S35: what the table above must never come to say.
#[test]
fn nobody_scans_lists_all_objects_or_opens_without_an_organization() {
    for right in rights(&Template::read()) {
        let (action, rest) = right.split_once(" on ").expect("on something");
        let action = action.rsplit(' ').next().expect("an action");
        assert!(!action.contains('*'), "{right}: name the calls");
        assert!(!action.contains("Scan") && !action.starts_with("iam:") && !action.starts_with("sts:"), "{right}");
        assert!(rest != "*" || action.starts_with("xray:"), "{right}: name the resource");
        assert!(!action.starts_with("s3:ListBucket") || rest != "Bucket", "{right}: only below prefixes");
        assert!(!action.starts_with("kms:") || rest.ends_with(" for an organization"), "{right}: only with the encryption context");
    }
}

/// S35: one role for each function, and each role for Lambda alone.
#[test]
fn every_function_has_a_role_of_its_own() {
    let template = Template::read();
    let mut roles: Vec<&str> = template.functions().iter().map(|(_, function)| target(&function["Properties"]["Role"])).collect();
    let functions: Vec<String> = template.functions().iter().map(|(name, _)| name.replace("Function", "Role")).collect();
    assert_eq!(roles, functions, "the role is named after its function");
    roles.sort();
    let all: Vec<&str> = template.of_type("AWS::IAM::Role").iter().map(|(name, _)| *name).collect();
    assert_eq!(all.len(), roles.len(), "there are other roles: {all:?}");
    for (role, resource) in template.of_type("AWS::IAM::Role") {
        let [statement] = &resource["Properties"]["AssumeRolePolicyDocument"]["Statement"].as_array().expect("statements")[..] else {
            panic!("{role} is assumed in one way")
        };
        assert_eq!(statement["Principal"], serde_json::json!({"Service": "lambda.amazonaws.com"}), "{role}");
    }
    // SAM adds no policies of its own where a role is given.
    for (name, function) in template.functions() {
        assert!(function["Properties"].get("Policies").is_none(), "{name}");
    }
}

/// S21, S35: whoever may use the key at all, of whatever account, may use it only for an organization that is named.
#[test]
fn the_key_opens_nothing_without_an_organization() {
    let template = Template::read();
    let key = template.properties("Key");
    assert_eq!(key["EnableKeyRotation"], true);
    let statements = key["KeyPolicy"]["Statement"].as_array().expect("statements");
    let refuses = statements.iter().find(|statement| statement["Effect"] == "Deny").expect("the policy refuses something");
    assert_eq!(refuses["Principal"], "*");
    assert_eq!(refuses["Condition"], serde_json::json!({"Null": {"kms:EncryptionContext:organization": "true"}}));
    let refused = texts(&refuses["Action"]);
    assert_eq!(refused, ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]);
}

#[test]
fn the_page_on_deployment_names_every_call_that_a_role_may_make() {
    let page = text("docs/deploy.md");
    for right in rights(&Template::read()) {
        let (action, _) = right.split_once(" on ").expect("on something");
        let (role, action) = (action.split("Role/").next().expect("a role").to_lowercase(), action.rsplit(' ').next().expect("an action"));
        let (service, call) = action.split_once(':').expect("service:Call");
        let named = page.lines().filter(|line| line.starts_with(&format!("| `{role}` | {service} |")));
        assert!(named.clone().any(|line| line.contains(&format!("`{call}`"))), "docs/deploy.md does not say that {role} calls {action}");
    }
}
