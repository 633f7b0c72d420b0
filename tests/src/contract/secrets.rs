//! The cases of sealing.

use engine::port::{Belongs, PortError, Secrets};

const CRM: Belongs<'_> = Belongs { organization: "acme", document: "credential/crm", version: 7 };

fn assert_refused(result: Result<Vec<u8>, PortError>, why: &str) {
    assert!(matches!(result, Err(PortError::Failed(_))), "{why}: a refusal was due, and this came: {result:?}");
}

pub(super) async fn what_was_sealed_opens_for_what_it_belongs_to<S: Secrets>(secrets: S) {
    let large: Vec<u8> = (0..100_000_usize).map(|n| (n * 31 % 256) as u8).collect();
    for plain in [b"".as_slice(), b"s3cr3t", "pässwörd \u{2028}\0".as_bytes(), &large] {
        let sealed = secrets.seal(plain, CRM).await.unwrap();
        assert!(secrets.open(&sealed, CRM).await.unwrap() == plain, "{} bytes", plain.len());
    }
}

pub(super) async fn it_opens_for_nothing_else<S: Secrets>(secrets: S) {
    let sealed = secrets.seal(b"s3cr3t", CRM).await.unwrap();
    let others = [
        Belongs { organization: "other", ..CRM },
        Belongs { organization: "", ..CRM },
        Belongs { document: "credential/crm2", ..CRM },
        Belongs { document: "destination/crm", ..CRM },
        Belongs { document: "", ..CRM },
        Belongs { version: 8, ..CRM },
        Belongs { version: 6, ..CRM },
        Belongs { version: 0, ..CRM },
        Belongs { version: u64::MAX, ..CRM },
        // The same letters, cut elsewhere.
        Belongs { organization: "acmec", document: "redential/crm", ..CRM },
        Belongs { organization: "acm", document: "ecredential/crm", ..CRM },
    ];
    for other in others {
        // That the other one has sealed something itself changes nothing.
        secrets.seal(b"mine", other).await.unwrap();
        assert_refused(secrets.open(&sealed, other).await, &format!("{other:?}"));
    }
    assert_eq!(secrets.open(&sealed, CRM).await.unwrap(), b"s3cr3t");
}

pub(super) async fn the_same_value_is_sealed_another_way_each_time<S: Secrets>(secrets: S) {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        assert!(seen.insert(secrets.seal(b"s3cr3t", CRM).await.unwrap()));
    }
    for sealed in &seen {
        assert_eq!(secrets.open(sealed, CRM).await.unwrap(), b"s3cr3t");
    }
}

pub(super) async fn a_sealed_text_is_one_short_word_of_ascii<S: Secrets>(secrets: S) {
    for length in [0, 1, 16, 1000, 60_000] {
        let sealed = secrets.seal(&vec![b'x'; length], CRM).await.unwrap();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)), "{sealed}");
        assert!(sealed.len() <= 2 * length + 200, "{length} bytes became {}", sealed.len());
        // Shorter ones come by chance.
        assert!(!sealed.contains("xxxxxxxxxxxx"));
    }
}

pub(super) async fn a_changed_text_does_not_open<S: Secrets>(secrets: S) {
    let sealed = secrets.seal(b"s3cr3t", CRM).await.unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_refused(secrets.open(&changed, CRM).await, &format!("letter {at}"));
        assert_refused(secrets.open(&sealed[..at], CRM).await, &format!("{at} letters"));
    }
    for longer in [format!("{sealed}A"), format!("{sealed}="), format!("{sealed} "), format!("A{sealed}")] {
        assert_refused(secrets.open(&longer, CRM).await, &longer);
    }
}

pub(super) async fn what_was_never_sealed_does_not_open<S: Secrets>(secrets: S) {
    secrets.seal(b"s3cr3t", CRM).await.unwrap();
    for text in ["", ".", "..", "pk1", "pk1..", "pk1.0.0", "pk1.0123456789abcdef.AAAA", "s3cr3t", "[redacted]", "memory.", "memory.-1", "ü"]
    {
        assert_refused(secrets.open(text, CRM).await, text);
    }
}

pub(super) async fn organizations_do_not_meet<S: Secrets>(secrets: S) {
    let mut sealed = Vec::new();
    for number in 0..20_u64 {
        let organization = format!("org-{}", number % 5);
        let of = Belongs { organization: &organization, document: "credential/crm", version: number };
        sealed.push((organization.clone(), number, secrets.seal(&number.to_be_bytes(), of).await.unwrap()));
    }
    for (organization, number, text) in &sealed {
        let of = Belongs { organization, document: "credential/crm", version: *number };
        assert_eq!(secrets.open(text, of).await.unwrap(), number.to_be_bytes());
        assert_refused(secrets.open(text, Belongs { organization: "org-9", ..of }).await, organization);
    }
}

pub(super) async fn no_error_and_no_debug_shows_a_value<S: Secrets + std::fmt::Debug>(secrets: S) {
    const VALUE: &str = "Zq8-value-that-must-not-be-seen";
    let sealed = secrets.seal(VALUE.as_bytes(), CRM).await.unwrap();
    let error = secrets.open(&sealed, Belongs { version: 8, ..CRM }).await.unwrap_err();
    for shown in [format!("{error}"), format!("{error:?}"), format!("{secrets:?}"), sealed] {
        assert!(!shown.contains("value-that"), "{shown}");
    }
}
