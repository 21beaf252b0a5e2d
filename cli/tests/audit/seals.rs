//! `webchat seal` and `verify --seals`: tamper evidence, against whoever can write the table.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use events::{RecordedEvent, time, to_item};
use local::Archive;
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    command::Place,
    world::{broadcast, corrupt, delete, folder, id, put, unknown},
};

/// Four days of a week ago, the third of them empty; the last is today.
struct Sealed {
    data: TempDir,
    manifests: TempDir,
    first: NaiveDate,
    events: Vec<RecordedEvent>,
}

fn noon(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap()).and_utc()
}

impl Sealed {
    async fn new() -> Sealed {
        let first = time::now().date_naive() - Days::new(7);
        let day = |offset: u64| first + Days::new(offset);
        let mut events: Vec<_> = [0, 1, 3]
            .into_iter()
            .flat_map(|offset| {
                (0..20).map(move |n| {
                    broadcast(&id("alice"), &format!("message {n}"), noon(day(offset)) + TimeDelta::milliseconds(n))
                })
            })
            .collect();
        events.push(broadcast(&id("alice"), "today", time::now() - TimeDelta::seconds(1)));
        let data = folder(events.iter().cloned()).await;
        // What this program cannot read is sealed like everything else.
        let archive = Archive::open(data.path()).await.unwrap();
        put(archive.sdk(), unknown(&broadcast(&id("bob"), "a", noon(first)))).await;
        put(archive.sdk(), corrupt(&broadcast(&id("bob"), "b", noon(first)))).await;
        Sealed { data, manifests: tempfile::tempdir().unwrap(), first, events }
    }

    fn place(&self) -> Place {
        Place::folder(self.data.path())
    }

    fn day(&self, offset: u64) -> String {
        (self.first + Days::new(offset)).to_string()
    }

    async fn seal(&self, args: &[&str]) -> Vec<Value> {
        let manifests = self.manifests.path().to_str().unwrap();
        self.place().rows(&[&["seal", "--manifests", manifests], args].concat()).await
    }

    fn manifest(&self, offset: u64) -> String {
        self.manifests.path().join(format!("{}.json", self.day(offset))).to_str().unwrap().to_owned()
    }

    /// The days that verify finds different, with the problems it names; its exit code must agree.
    async fn different(&self, args: &[&str]) -> Vec<(String, String)> {
        let said = self.place().run(&[&["verify", "--seals", "--format", "jsonl"], args].concat()).await;
        let rows = said.rows();
        let different: Vec<_> = rows.iter().filter(|row| row["verdict"] == "different").collect();
        assert_eq!(said.code, Some(i32::from(!different.is_empty())), "{said:?}");
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let problems = |row: &Value| {
            row["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect::<Vec<_>>().join("; ")
        };
        different.iter().map(|row| (text(row, "day"), problems(row))).collect()
    }

    async fn tamper(&self, event: &RecordedEvent, how: impl FnOnce(&mut Item)) {
        let archive = Archive::open(self.data.path()).await.unwrap();
        let mut item = to_item(event).unwrap();
        how(&mut item);
        put(archive.sdk(), item).await;
    }

    async fn restore(&self, event: &RecordedEvent) {
        self.tamper(event, |_| {}).await;
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_settled_day_is_sealed_once_none_is_skipped_and_each_names_the_one_before() {
    let sealed = Sealed::new().await;
    let some = sealed.seal(&["--day", &sealed.day(1)]).await;
    assert_eq!(some.iter().map(|row| row["day"].as_str().unwrap()).collect::<Vec<_>>(), [sealed.day(0), sealed.day(1)]);
    assert_eq!(some.iter().map(|row| row["events"].clone()).collect::<Vec<_>>(), [22, 20]);
    assert_eq!((&some[0]["previous"], &some[1]["previous"]), (&Value::Null, &some[0]["root"]));
    let rest = sealed.seal(&[]).await;
    assert_eq!(rest[0]["day"], json!(sealed.day(2)));
    assert_eq!(
        (&rest[0]["events"], &rest[0]["previous"]),
        (&json!(0), &some[1]["root"]),
        "an empty day is sealed, too"
    );
    assert!(rest.len() >= 4, "up to yesterday, or the day before in the first hour: {rest:?}");
    assert_eq!(sealed.seal(&[]).await, Vec::<Value>::new());
    for offset in 0..4 {
        assert!(std::fs::exists(sealed.manifest(offset)).unwrap());
    }
    let today = time::now().date_naive().to_string();
    let early = sealed.place().run(&["seal", "--day", &today]).await.one_line(1);
    assert!(early.contains("is not settled yet"), "{early}");
    // A sealed day again: the same root, and the manifest if it was lost.
    std::fs::remove_file(sealed.manifest(0)).unwrap();
    assert_eq!(sealed.seal(&["--day", &sealed.day(0)]).await, some[..1]);
    let all: Vec<String> = (0..4).flat_map(|offset| ["--manifest".to_owned(), sealed.manifest(offset)]).collect();
    assert_eq!(sealed.different(&all.iter().map(String::as_str).collect::<Vec<_>>()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_byte_one_event_less_or_more_names_the_day_and_with_its_manifest_the_event() {
    let sealed = Sealed::new().await;
    sealed.seal(&[]).await;
    let victim = sealed.events[25].clone();
    let (day, event) = (sealed.day(1), format!("event {} of conversation#lobby", victim.id));
    let manifest = sealed.manifest(1);
    let with = ["--manifest", manifest.as_str()];
    let expect = async |what: &str| {
        let found = sealed.different(&[]).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == day && found[0].1.contains("have root"), "{found:?}");
        let found = sealed.different(&with).await;
        assert!(found.len() == 1 && found[0].1.contains(&format!("{event} {what}")), "{found:?}");
    };
    let flips: [(&str, AttributeValue); 4] = [
        ("request_id", s("other")),
        ("type", s("MessageBroadcasu")),
        ("version", AttributeValue::N("2".into())),
        ("data", AttributeValue::M([("from".to_owned(), s("alice")), ("text".to_owned(), s("message 6"))].into())),
    ];
    for (name, value) in flips {
        sealed.tamper(&victim, |item| drop(item.insert(name.to_owned(), value))).await;
        expect("was changed").await;
    }
    // Out of the log, but not out of its stream.
    sealed.tamper(&victim, |item| drop(item.remove("day"))).await;
    expect("is gone").await;
    assert!(sealed.different(&[]).await[0].1.contains("is hidden from the log"));
    {
        let archive = Archive::open(sealed.data.path()).await.unwrap();
        delete(archive.sdk(), &victim).await;
    }
    expect("is gone").await;
    sealed.restore(&victim).await;
    assert_eq!(sealed.different(&with).await, []);

    let forged = broadcast(&id("mallory"), "I was here", noon(sealed.first + Days::new(1)));
    sealed.restore(&forged).await;
    let found = sealed.different(&with).await;
    assert!(found[0].1.contains(&format!("event {} of conversation#lobby was added", forged.id)), "{found:?}");
    // Where no reader of the log sees it, and every reader of the conversation does.
    sealed.tamper(&forged, |item| drop(item.remove("logged"))).await;
    let found = sealed.different(&[]).await;
    assert_eq!(found, [(day, format!("event {} of conversation#lobby is hidden from the log", forged.id))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_and_seals_made_anew_do_not_match_the_manifest_that_was_kept() {
    let sealed = Sealed::new().await;
    sealed.seal(&[]).await;
    let victim = sealed.events[2].clone();
    sealed.tamper(&victim, |item| drop(item.insert("request_id".into(), s("other")))).await;
    let again = ["seal", "--day", &sealed.day(0), "--manifests", "/nowhere"];
    let said = sealed.place().run(&again).await.expect(1);
    assert!(said.err.contains("is sealed with root"), "another root for a sealed day: {said:?}");
    // Whoever can write the table can seal anew.
    {
        let archive = Archive::open(sealed.data.path()).await.unwrap();
        let log = events::EventLog::new(aws_sdk_dynamodb::Client::new(archive.sdk()), local::EVENTS);
        for stored in log.read_whole_stream(&events::seal::stream()).await.unwrap() {
            delete(archive.sdk(), &stored.unwrap()).await;
        }
    }
    let found = sealed.different(&["--manifest", &sealed.manifest(0)]).await;
    assert_eq!(found, [(sealed.day(0), "there is a manifest and no seal".to_owned())]);
    // Never over the proof.
    let manifests = sealed.manifests.path().to_str().unwrap();
    let kept = sealed.place().run(&["seal", "--manifests", manifests]).await.one_line(1);
    assert!(kept.contains("is a manifest of other events"), "{kept}");
    let elsewhere = tempfile::tempdir().unwrap();
    sealed.place().run(&["seal", "--manifests", elsewhere.path().to_str().unwrap()]).await.expect(0);
    assert_eq!(sealed.different(&[]).await, [], "alone, the table cannot tell");
    let found = sealed.different(&["--manifest", &sealed.manifest(0)]).await;
    assert!(found[0].1.contains("the seal is not the one of the manifest"), "{found:?}");
    assert!(found[0].1.contains(&format!("event {} of conversation#lobby was changed", victim.id)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seals_that_are_gone_changed_or_not_ours_are_named() {
    let sealed = Sealed::new().await;
    sealed.seal(&[]).await;
    let archive = Archive::open(sealed.data.path()).await.unwrap();
    let log = events::EventLog::new(aws_sdk_dynamodb::Client::new(archive.sdk()), local::EVENTS);
    let seals: Vec<_> =
        log.read_whole_stream(&events::seal::stream()).await.unwrap().into_iter().map(Result::unwrap).collect();
    let of = |offset: u64| {
        let id = events::seal::id(sealed.first + Days::new(offset));
        seals.iter().find(|seal| seal.id == id).unwrap().clone()
    };
    delete(archive.sdk(), &of(1)).await;
    let mut second = of(3);
    second.id = of(3).id.to_string().replace(['0', '1'], "2").parse().unwrap();
    put(archive.sdk(), to_item(&second).unwrap()).await;
    drop(archive);
    let found = sealed.different(&[]).await;
    let day =
        |offset: u64| found.iter().find(|(day, _)| *day == sealed.day(offset)).map(|(_, problem)| problem.as_str());
    assert_eq!(day(2), Some("it does not name the seal before it; the day before is not sealed"));
    assert_eq!(day(3), Some(format!("event {} seals it as well", second.id).as_str()));
    assert_eq!(day(0), None);
    sealed.tamper(&of(0), |item| drop(item.remove("data"))).await;
    let said = sealed.place().run(&["verify", "--seals"]).await.expect(1);
    assert!(said.err.contains("of stream seal cannot be decoded"), "{said:?}");
    sealed.place().run(&["seal"]).await.expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settled_days_there_is_nothing_to_seal() {
    let data = folder([broadcast(&id("alice"), "now", time::now())]).await;
    let said = Place::folder(data.path()).run(&["seal"]).await.expect(0);
    assert!(said.out.is_empty() && said.err.starts_with("nothing to seal: the last settled day is "), "{said:?}");
    let missing = Place::folder(data.path()).run(&["verify", "--seals", "--manifest", "/nowhere"]).await.one_line(2);
    assert!(missing.contains("--manifest /nowhere"), "{missing}");
}
