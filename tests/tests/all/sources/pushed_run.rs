//! A model whose rows are pushed, as runs see it: the rows as they stand when the run begins.

use crate::journey::stage::{People, Stage, assert_holds, assert_says, keep, project};
use backend_embedded::{DataDir, EmbeddedObjects, EmbeddedStore};
use engine::model::name::Name;
use engine::model::source::{Model, Source};
use engine::push;
use serde_json::{Value, json};
use std::cell::Cell;
use tests::receiver::{Action, Always};

/// The data directory of a stage, as a server would have it open.
struct Pushing {
    store: EmbeddedStore,
    objects: EmbeddedObjects,
    organization: Name,
    model: Model,
    pushes: Cell<u64>,
}

impl Pushing {
    fn to(stage: &Stage) -> Pushing {
        let data = DataDir::open(stage.path(".penstock")).unwrap();
        let id = Name::new("people").unwrap();
        Pushing {
            store: data.store().unwrap(),
            objects: data.objects().unwrap(),
            organization: Name::new("default").unwrap(),
            model: Model { id, name: "people".into(), primary_key: vec!["id".into()], source: Source::Push },
            pushes: Cell::new(0),
        }
    }

    fn now() -> u64 {
        std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
    }

    fn changes(&self, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.pushes.set(self.pushes.get() + 1);
        let name = self.pushes.get().to_string();
        let pushed = push::changes(&self.store, &self.objects, &self.organization, &self.model, text.as_bytes(), &name, Pushing::now());
        super::shelf::wait(pushed).unwrap().unwrap();
    }

    fn snapshot(&self, people: &People) {
        let text: String =
            people.0.iter().map(|(id, [email, name])| format!("{}\n", json!({"id": id, "email": email, "name": name}))).collect();
        let (id, now) = (&self.model.id, Pushing::now());
        let sum = super::shelf::sha256(&text);
        super::shelf::wait(async {
            push::begin_upload(&self.store, &self.objects, &self.organization, id, "upload_1", now).await.unwrap();
            for (number, part) in (1..).zip(text.as_bytes().chunks(1000)) {
                let put = push::put_part(&self.store, &self.objects, &self.organization, id, "upload_1", number, part.to_vec(), now);
                put.await.unwrap().unwrap();
            }
            let rows = people.0.len() as u64;
            let commit = push::commit(&self.store, &self.objects, &self.organization, &self.model, "upload_1", rows, &sum, "c", now);
            commit.await.unwrap().unwrap();
        });
    }
}

fn upsert(people: &People, id: u32) -> Value {
    let [email, name] = &people.0[&id];
    json!({"upsert": {"id": id, "email": email, "name": name}})
}

#[test]
fn an_export_follows_what_is_pushed() {
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    project["models"]["people"]["source"] = json!({"type": "push"});
    let stage = Stage::new(&project);
    stage.penstock(&["validate"]).expect(0);
    for words in [&["run", "news"][..], &["plan", "news"], &["render", "news.add"]] {
        let ended = stage.penstock(words).expect(1);
        assert_says(&ended.stderr, &["model people: no rows were pushed yet"]);
    }
    let mut people = People::new(60);
    let pushing = Pushing::to(&stage);
    pushing.snapshot(&people);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 60, "changed": 0, "removed": 0}));
    assert_holds(&held, &people);
    // Nothing was pushed: nothing is read.
    let plan = stage.penstock(&["plan", "news", "--json"]).expect(0).json();
    assert_eq!(plan["unread"], json!(true));
    people.put(1, 1);
    people.put(61, 0);
    people.remove(2);
    pushing.changes(&[upsert(&people, 1), upsert(&people, 61), json!({"remove": {"id": "2"}})]);
    pushing.changes(&[upsert(&people, 3)]);
    assert_eq!(stage.run_well(&[])["changes"], json!({"added": 1, "changed": 1, "removed": 1}));
    assert_holds(&held, &people);
    let shown = stage.penstock(&["render", "news.add", "--row", "61"]).expect(0);
    assert!(shown.stdout.contains("p61.0@example.com"), "{shown:?}");
    // A push that comes back to what was delivered is read, and sends nothing.
    let sent = receiver.count();
    pushing.changes(&[upsert(&people, 5)]);
    assert_eq!((&stage.run_well(&[])["changes"], receiver.count()), (&json!({"added": 0, "changed": 0, "removed": 0}), sent));
}
