//! Tables of queries, and the engine against an evaluation by the definitions.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::common::Timestamp;
use crate::model::{Capacity, ImageDir, Inventory, SshAddress, State, Status, StoreUuid};

/// The parameters of a query, and the last digits of the uuids that it selects.
type SelectionCase<'a> = (&'a [(&'a str, &'a str)], &'a [u128]);

/// 22 December 2016, 17:10:06 UTC.
const CREATED: i64 = 1_482_426_606_000;

fn store(number: u128) -> Inventory {
    Inventory {
        uuid: StoreUuid::from_u128((0xc0a8_u128 << 112) | number),
        name: format!("Store {number}"),
        description: String::new(),
        image_dir: ImageDir::parse(&format!("/srv/{number}")).unwrap(),
        capacity: Some(Capacity::new(1000, 400).unwrap()),
        state: State::Enabled,
        status: Status::Connected,
        created: Timestamp(CREATED),
        last_op: Timestamp(CREATED),
        zone_uuids: Vec::new(),
        address: SshAddress {
            hostname: "192.168.0.1".parse().unwrap(),
            port: 22.try_into().unwrap(),
        },
        username: "root".to_owned(),
    }
}

fn three_stores() -> Vec<Inventory> {
    let (mut first, mut second, mut third) = (store(1), store(2), store(3));
    first.name = "a=b, c".to_owned();
    first.zone_uuids = vec!["z1".to_owned(), "z2".to_owned()];
    second.name = "B+C".to_owned();
    second.status = Status::Disconnected;
    second.description = "100% full".to_owned();
    second.capacity = Some(Capacity::new(900, 9).unwrap());
    second.created = Timestamp(CREATED + 1007);
    third.name = "école".to_owned();
    third.zone_uuids = vec!["Z2".to_owned()];
    third.capacity = None;
    third.address.port = 2222.try_into().unwrap();
    third.address.hostname = "[fd00::1]".parse().unwrap();
    third.created = Timestamp(CREATED - 1);
    vec![first, second, third]
}

fn parse(parameters: &[(&str, &str)]) -> Result<RecordQuery<Inventory>, InvalidParameter> {
    RecordQuery::parse(parameters.iter().copied(), &STORE_FIELDS, &TimeZone::UTC)
}

/// Returns the last digits of the uuids in the page.
fn page(parameters: &[(&str, &str)]) -> Vec<u128> {
    let (stores, query) = (three_stores(), parse(parameters).unwrap());
    let matching = stores.iter().filter(|store| query.matches(store)).collect();
    let numbers = query
        .page_of(matching)
        .into_iter()
        .map(|found| stores.iter().zip(1..).find(|(store, _)| store.uuid == found.uuid).unwrap().1);
    numbers.collect()
}

#[test]
fn each_operator_selects_by_the_type_of_the_field() {
    let first = three_stores()[0].uuid.to_string();
    let (upper, prefix) = (first.to_uppercase(), &first[..4]);
    let cases: &[(String, &[u128])] = &[
        (format!("uuid={first}"), &[1]),
        (format!("uuid={upper}"), &[1]),
        (format!("uuid!={first}"), &[2, 3]),
        (format!("uuid?={first},x"), &[1]),
        (format!("uuid~={prefix}%"), &[1, 2, 3]),
        (format!("uuid>{first}"), &[2, 3]),
        (format!("uuid>{prefix}"), &[1, 2, 3]),
        ("uuid=".to_owned(), &[]),
        ("uuid=c0a80101000040008000000000000009".to_owned(), &[]),
        ("name=a=b, c".to_owned(), &[1]),
        ("name=A=B, C".to_owned(), &[1]),
        ("name= a=b, c".to_owned(), &[]),
        ("name=b+c".to_owned(), &[2]),
        ("name=ÉCOLE".to_owned(), &[3]),
        ("name=ecole".to_owned(), &[]),
        ("name~=%c".to_owned(), &[1, 2]),
        ("name!~=%c".to_owned(), &[3]),
        ("name?=B+C,école".to_owned(), &[2, 3]),
        ("name!?=B+C,école".to_owned(), &[1]),
        ("name>b".to_owned(), &[2, 3]),
        ("name<=B+C".to_owned(), &[1, 2]),
        ("description is null".to_owned(), &[1, 3]),
        ("description not null".to_owned(), &[2]),
        ("description~=100\\% %".to_owned(), &[2]),
        ("description=".to_owned(), &[1, 3]),
        ("name not null".to_owned(), &[1, 2, 3]),
        ("sshPort=22".to_owned(), &[1, 2]),
        ("sshPort=22.0".to_owned(), &[1, 2]),
        ("sshPort>99".to_owned(), &[3]),
        ("sshPort?=1, 2222".to_owned(), &[3]),
        ("sshPort~=22__".to_owned(), &[3]),
        ("sshPort is null".to_owned(), &[]),
        ("totalCapacity>=9e2".to_owned(), &[1, 2]),
        ("totalCapacity<1000".to_owned(), &[2, 3]),
        ("availableCapacity=0".to_owned(), &[3]),
        ("status?=Connected,Connecting".to_owned(), &[1, 3]),
        ("status=disconnected".to_owned(), &[2]),
        ("type=ImageStoreBackupStorage".to_owned(), &[1, 2, 3]),
        ("state!=Enabled".to_owned(), &[]),
        ("createDate=Dec 22, 2016 5:10:06 PM".to_owned(), &[1]),
        ("createDate>2016-12-22T17:10:06Z".to_owned(), &[2]),
        ("createDate<=2016-12-22T17:10:06Z".to_owned(), &[1, 3]),
        ("createDate=2016-12-22T17:10:07.007Z".to_owned(), &[2]),
        ("createDate?=2016-12-22 17:10:05,2016-12-22 17:10:07".to_owned(), &[2, 3]),
        ("attachedZoneUuids=z2".to_owned(), &[1, 3]),
        ("attachedZoneUuids!=z1".to_owned(), &[2, 3]),
        ("attachedZoneUuids?=z1,z9".to_owned(), &[1]),
        ("attachedZoneUuids is null".to_owned(), &[2]),
        ("attachedZoneUuids not null".to_owned(), &[1, 3]),
        ("url~=/srv/_".to_owned(), &[1, 2, 3]),
        ("url=/srv/2".to_owned(), &[2]),
        // An add takes these texts as the same directory and the same host.
        ("url=//srv/2/".to_owned(), &[2]),
        ("url?=/srv/1/,/srv/3,x".to_owned(), &[1, 3]),
        ("url!=/srv/2/".to_owned(), &[1, 3]),
        ("url=srv/2".to_owned(), &[]),
        ("url~=/srv/2/".to_owned(), &[]),
        ("hostname=192.168.0.1".to_owned(), &[1, 2]),
        ("hostname=fd00::1".to_owned(), &[3]),
        ("hostname=[FD00::1]".to_owned(), &[3]),
        ("hostname=[fd00::1".to_owned(), &[]),
        ("username!=root".to_owned(), &[]),
    ];
    for (condition, expected) in cases {
        assert_eq!(page(&[("q", condition)]), *expected, "{condition}");
    }
}

#[test]
fn all_conditions_count_and_a_page_follows_the_order() {
    let cases: &[SelectionCase<'_>] = &[
        (&[], &[1, 2, 3]),
        (&[("q", "sshPort=22"), ("q", "status=Connected")], &[1]),
        (&[("q", "sshPort=22"), ("q", "sshPort=23")], &[]),
        (&[("limit", "2")], &[1, 2]),
        (&[("limit", "0")], &[]),
        (&[("limit", "2"), ("start", "1")], &[2, 3]),
        (&[("start", "3")], &[]),
        (&[("start", "4294967295"), ("limit", "4294967295")], &[]),
        (&[("sort", "-name")], &[3, 2, 1]),
        (&[("sort", "+name")], &[1, 2, 3]),
        (&[("sort", " name")], &[1, 2, 3]),
        (&[("sort", "name")], &[1, 2, 3]),
        (&[("sort", "-uuid")], &[3, 2, 1]),
        (&[("sort", "totalCapacity")], &[3, 2, 1]),
        (&[("sort", "-createDate"), ("limit", "1")], &[2]),
        // Equal records keep the order of their uuids in both directions.
        (&[("sort", "username")], &[1, 2, 3]),
        (&[("sort", "-username")], &[1, 2, 3]),
        (&[("sort", "attachedZoneUuids")], &[2, 3, 1]),
        (&[("unknown", "x"), ("unknown", "y"), ("q.0", "name=x")], &[1, 2, 3]),
    ];
    for (parameters, expected) in cases {
        assert_eq!(page(parameters), *expected, "{parameters:?}");
    }
    let many: Vec<Inventory> = (0..1500).map(store).collect();
    let default = parse(&[]).unwrap();
    assert_eq!(default.page_of(many.iter().collect()).len(), 1000);
}

#[test]
fn the_answer_is_a_count_a_page_or_both() {
    for (parameters, expected) in [
        (vec![], QueryAnswer::Page),
        (vec![("count", "false")], QueryAnswer::Page),
        (vec![("count", "True")], QueryAnswer::Count),
        (vec![("replyWithCount", "true")], QueryAnswer::PageWithTotal),
        (vec![("replyWithCount", "true"), ("count", "true")], QueryAnswer::Count),
    ] {
        assert_eq!(parse(&parameters).unwrap().answer(), expected, "{parameters:?}");
    }
    let fields = |value| parse(&[("fields", value)]).unwrap().selected_fields().unwrap().to_vec();
    assert_eq!(fields("uuid"), ["uuid"]);
    assert_eq!(fields("name, uuid,name"), ["name", "uuid", "name"]);
    assert_eq!(parse(&[]).unwrap().selected_fields(), None);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_name() {
    for (name, value, part) in [
        ("q", "hunter2", "expected a field and an operator"),
        ("q", "", "expected a field and an operator"),
        ("q", "=x", " is no field"),
        ("q", "password=hunter2", "password is no field; the fields are uuid, name, url"),
        ("q", "Name=x", "Name is no field"),
        ("q", "zone.uuid=x", "zone.uuid is no field"),
        ("q", "description is not null", "description is is no field"),
        ("q", "description is null hunter2", "expected nothing after description is null"),
        ("q", "sshPort=hunter2", "expected a number of at most 38 digits after sshPort ="),
        ("q", "sshPort?=22,", "expected a number of at most 38 digits after sshPort ?="),
        ("q", "createDate>hunter2", "expected a date such as"),
        ("q", "createDate~=2016%", "createDate is a date, which has no ~="),
        ("limit", "x", "expected a whole number"),
        ("limit", "-1", "expected a whole number"),
        ("limit", "+1", "expected a whole number"),
        ("limit", "1.0", "expected a whole number"),
        ("limit", "", "expected a whole number"),
        ("limit", "4294967296", "expected a whole number"),
        ("start", "x", "expected a whole number"),
        ("count", "yes", "expected true or false"),
        ("count", "", "expected true or false"),
        ("replyWithCount", "1", "expected true or false"),
        ("sort", "password", "password is no field"),
        ("sort", "", " is no field"),
        ("sort", "--name", "-name is no field"),
        ("fields", "uuid,password", "password is no field"),
        ("fields", "", " is no field"),
        ("groupBy", "name", "the daemon does not support it"),
        ("filterName", "x", "the daemon does not support it"),
    ] {
        let error = parse(&[(name, value)]).unwrap_err();
        assert_eq!(error.parameter(), name, "{name}={value}");
        let message = error.to_string();
        assert!(message.contains(part), "{name}={value}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let long = format!("name~={}", "x".repeat(256));
    assert!(parse(&[("q", &long)]).unwrap_err().to_string().contains("at most 255 characters"));
    for name in ["limit", "start", "count", "replyWithCount", "sort", "fields"] {
        let value = match name {
            "limit" | "start" => "1",
            "count" | "replyWithCount" => "false",
            _ => "name",
        };
        let error = parse(&[(name, value), (name, value)]).unwrap_err();
        assert_eq!((error.parameter(), error.to_string().contains("only once")), (name, true));
    }
    let conditions = vec![("q", "name=x"); 33];
    assert!(parse(&conditions[1..]).is_ok());
    assert!(parse(&conditions).unwrap_err().to_string().contains("more than 32 conditions"));
    let endless = format!("{}\u{202e}=x", "x".repeat(100));
    let message = parse(&[("q", &endless)]).unwrap_err().to_string();
    assert!(message.contains(&"x".repeat(63)) && !message.contains(&"x".repeat(65)), "{message}");
}

#[test]
fn one_uuid_is_known_without_a_look_at_the_stores() {
    let uuid = store(1).uuid;
    let condition = |operator| format!("uuid{operator}{uuid}");
    for (conditions, expected) in [
        (vec![condition("=")], Some(uuid)),
        (vec!["name=x".to_owned(), condition("?=")], Some(uuid)),
        (vec![condition("!=")], None),
        (vec![condition(">=")], None),
        (vec![format!("uuid?={uuid},{}", store(2).uuid)], None),
        (vec!["name=x".to_owned()], None),
        (vec![], None),
    ] {
        let parameters: Vec<_> = conditions.iter().map(|text| ("q", text.as_str())).collect();
        assert_eq!(parse(&parameters).unwrap().only_uuid(), expected, "{conditions:?}");
    }
}

#[test]
fn a_zone_has_only_a_uuid() {
    let parse = |parameters: &[(&'static str, &'static str)]| {
        RecordQuery::parse(parameters.iter().copied(), &ZONE_FIELDS, &TimeZone::UTC)
    };
    let query = parse(&[("q", "uuid=Z1")]).unwrap();
    assert!(query.matches(&"z1".to_owned()) && !query.matches(&"z2".to_owned()));
    let error = parse(&[("q", "name=x")]).unwrap_err().to_string();
    assert_eq!(error, "the query parameter q: name is no field; the fields are uuid");
}

#[test]
fn a_capacity_is_that_of_every_store_that_a_parameter_names() {
    let stores = three_stores();
    let first = stores[0].uuid.to_string();
    let covered = |parameters: &[(&str, &str)]| {
        let scope = CapacityScope::parse(parameters.iter().copied()).unwrap();
        stores.iter().zip(1..).filter(|(store, _)| scope.covers(store)).map(|(_, n)| n).collect()
    };
    let upper = first.to_uppercase();
    let cases: &[SelectionCase<'_>] = &[
        (&[("all", "true")], &[1, 2, 3]),
        (&[("all", "false"), ("backupStorageUuids", &first)], &[1]),
        (&[("backupStorageUuids", &upper), ("backupStorageUuids", "x")], &[1]),
        (&[("backupStorageUuids.0", &first), ("backupStorageUuids.1", &first)], &[1]),
        (&[("zoneUuids", "z2")], &[1, 3]),
        (&[("zoneUuids", "z9")], &[]),
        (&[("zoneUuids", "Z2"), ("backupStorageUuids", &first)], &[1, 3]),
        (&[("all", "TRUE"), ("zoneUuids", "z9"), ("other", "")], &[1, 2, 3]),
    ];
    for (parameters, expected) in cases {
        let found: Vec<u128> = covered(parameters);
        assert_eq!(found, *expected, "{parameters:?}");
    }
    for (parameters, part) in [
        (vec![], "backupStorageUuids: expected at least one uuid"),
        (vec![("all", "false")], "backupStorageUuids: expected at least one uuid"),
        (vec![("all", "1")], "all: expected true or false"),
        (vec![("all", "true"), ("all", "true")], "all: it may be there only once"),
        (vec![("zoneUuids", " ")], "zoneUuids: expected a uuid"),
        (vec![("backupStorageUuids.0", "")], "backupStorageUuids.0: expected a uuid"),
        (vec![("backupStorageUuids.x", "a")], "backupStorageUuids: expected at least one uuid"),
    ] {
        let error = CapacityScope::parse(parameters.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(part), "{parameters:?}: {error}");
    }
}

/// A condition in its parts, as the naive evaluation takes it.
#[derive(Clone, Debug)]
struct NaiveCondition {
    field: &'static str,
    operator: &'static str,
    value: String,
}

/// Returns the values of a field as texts in lower case.
fn texts(store: &Inventory, field: &str) -> Vec<String> {
    let capacity = store.capacity.map_or((0, 0), |known| (known.total(), known.available()));
    let values: BTreeMap<&str, Vec<String>> = BTreeMap::from([
        ("uuid", vec![store.uuid.to_string()]),
        ("name", vec![store.name.clone()]),
        ("description", vec![store.description.clone()]),
        ("totalCapacity", vec![capacity.0.to_string()]),
        ("sshPort", vec![store.address.port.to_string()]),
        ("createDate", vec![(store.created.0.div_euclid(1000)).to_string()]),
        ("attachedZoneUuids", store.zone_uuids.clone()),
    ]);
    values[field].iter().map(|text| text.to_lowercase()).collect()
}

fn naive_like(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skipped| naive_like(rest, &text[skipped..])),
        Some((c, rest)) => {
            text.first().is_some_and(|first| *c == '_' || c == first)
                && naive_like(rest, &text[1..])
        }
    }
}

fn naive_match(store: &Inventory, condition: &NaiveCondition) -> bool {
    let NaiveCondition { field, operator, value } = condition;
    let is_number = matches!(*field, "totalCapacity" | "sshPort" | "createDate");
    let wanted = match *field {
        "createDate" => value
            .parse::<jiff::Timestamp>()
            .map_or_else(|_| value.clone(), |time| time.as_second().to_string()),
        _ => value.to_lowercase(),
    };
    let order = |text: &str, other: &str| match is_number {
        true => text.parse::<i64>().unwrap().cmp(&other.parse::<i64>().unwrap()),
        false => text.cmp(other),
    };
    let values = texts(store, field);
    let any = |holds: &dyn Fn(&str) -> bool| values.iter().any(|text| holds(text));
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    match *operator {
        "=" => any(&|text| order(text, &wanted).is_eq()),
        "!=" => !any(&|text| order(text, &wanted).is_eq()),
        ">" => any(&|text| order(text, &wanted).is_gt()),
        ">=" => any(&|text| order(text, &wanted).is_ge()),
        "<" => any(&|text| order(text, &wanted).is_lt()),
        "<=" => any(&|text| order(text, &wanted).is_le()),
        "?=" => any(&|text| wanted.split(',').any(|one| order(text, one).is_eq())),
        "!?=" => !any(&|text| wanted.split(',').any(|one| order(text, one).is_eq())),
        "~=" => any(&|text| naive_like(&chars(&wanted), &chars(text))),
        "!~=" => !any(&|text| naive_like(&chars(&wanted), &chars(text))),
        " is null" => values.iter().all(String::is_empty),
        _ => !values.iter().all(String::is_empty),
    }
}

fn any_store() -> impl Strategy<Value = Inventory> {
    let text = "[aBé%_,= ]{0,3}";
    let zones = prop::collection::vec("[xY]{1,2}", 0..3);
    (0_u128..4, text, text, 1_u64..40, 1_u16..40, 0_i64..5000, zones).prop_map(
        |(number, name, description, total, port, created, zone_uuids)| Inventory {
            name,
            description,
            capacity: (total > 3).then(|| Capacity::new(total, total / 2).unwrap()),
            created: Timestamp(CREATED + created),
            zone_uuids,
            address: SshAddress { port: port.try_into().unwrap(), ..store(0).address },
            ..store(number)
        },
    )
}

fn any_condition() -> impl Strategy<Value = NaiveCondition> {
    let ordered = ["=", "!=", ">", ">=", "<", "<=", "?=", "!?="];
    let unary = [" is null", " not null"];
    let texts = prop::sample::select(vec!["name", "description", "attachedZoneUuids", "uuid"]);
    let numbers = prop::sample::select(vec!["totalCapacity", "sshPort"]);
    let text_operators = [&ordered[..], &["~=", "!~="], &unary].concat();
    let of_text = (texts, prop::sample::select(text_operators), "[aBéÉ%_,xy ]{0,3}");
    let number = prop::sample::select((0..40).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    let number_operators = [&ordered[..], &unary].concat();
    let of_number = (numbers, prop::sample::select(number_operators.clone()), number);
    let second = (0_i64..6).prop_map(|second| {
        jiff::Timestamp::from_millisecond(CREATED + second * 1000).unwrap().to_string()
    });
    let of_date = (Just("createDate"), prop::sample::select(number_operators), second);
    let any = prop_oneof![of_text, of_number, of_date];
    any.prop_map(|(field, operator, value)| {
        let value = match operator {
            " is null" | " not null" => String::new(),
            // They would be another operator with it.
            ">" | "<" => value.trim_start_matches('=').to_owned(),
            _ => value,
        };
        NaiveCondition { field, operator, value }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_query_selects_what_the_definitions_select(
        stores in prop::collection::vec(any_store(), 0..12),
        conditions in prop::collection::vec(any_condition(), 0..3),
        sort_field in prop::sample::select(vec!["name", "totalCapacity", "createDate", "uuid"]),
        descending: bool,
        start in 0_usize..6,
        limit in 0_usize..8,
    ) {
        let mut parameters: Vec<(&str, String)> = conditions
            .iter()
            .map(|one| ("q", format!("{}{}{}", one.field, one.operator, one.value)))
            .collect();
        parameters.push(("sort", format!("{}{sort_field}", if descending { "-" } else { "+" })));
        parameters.push(("start", start.to_string()));
        parameters.push(("limit", limit.to_string()));
        let parameters = parameters.iter().map(|(name, value)| (*name, value.as_str()));
        let query = RecordQuery::parse(parameters, &STORE_FIELDS, &TimeZone::UTC).unwrap();
        let found = query.page_of(stores.iter().filter(|store| query.matches(store)).collect());

        let mut expected: Vec<&Inventory> = stores
            .iter()
            .filter(|store| conditions.iter().all(|condition| naive_match(store, condition)))
            .collect();
        let key = |store: &Inventory| {
            let text = texts(store, sort_field).concat();
            let number = match sort_field {
                "totalCapacity" => text.parse().unwrap(),
                "createDate" => store.created.0,
                _ => 0,
            };
            (number, text)
        };
        expected.sort_by(|one, other| match descending {
            true => key(other).cmp(&key(one)),
            false => key(one).cmp(&key(other)),
        });
        let expected: Vec<&Inventory> = expected.into_iter().skip(start).take(limit).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_text_of_a_condition_panics(text in "(name|sshPort|createDate|uuid|x)?\\PC{0,20}") {
        if let Ok(query) = parse(&[("q", &text)]) {
            for store in three_stores() {
                query.matches(&store);
            }
        }
    }
}
