use super::*;
use crate::runtime::capture::{SERIES, captured, path};
use crate::runtime::{Payload, StorePath};

/// What `read` makes of a captured reply, for each series.
#[track_caller]
fn each<T: std::fmt::Debug + PartialEq>(
    name: &str,
    read: impl Fn(&[u8]) -> Result<T, Failure>,
    expected: &Result<T, Failure>,
) {
    for series in SERIES {
        let reply = captured(series, name);
        let body = body(&reply, Command::ShowInfo).unwrap();
        assert_eq!(&read(body), expected, "{name} of {series}");
    }
}

fn a() -> StorePath {
    path("live/a.pem")
}

fn c() -> StorePath {
    path("live/c.pem")
}

fn live() -> StorePath {
    path("live")
}

#[test]
fn reads_the_process() {
    for series in SERIES {
        let info = Info::parse(&captured(series, "show-info")).unwrap();
        assert!(info.version.to_string().starts_with(series));
        assert!(info.pid > 1 && info.threads > 0 && !info.stopping);
    }
    let stopping = String::from_utf8(captured("2.6", "show-info")).unwrap();
    let stopping = stopping.replace("Stopping: 0", "Stopping: 1");
    assert!(Info::parse(stopping.as_bytes()).unwrap().stopping);
    assert_eq!(Info::parse(b"Pid: x\n\n"), Err(Failure::Unexpected));
}

#[test]
fn tells_an_open_transaction_from_the_names() {
    each("show-cert", open_transaction, &Ok(None));
    let open = Some(a().to_string());
    each("show-cert-transaction", open_transaction, &Ok(open));
    assert_eq!(open_transaction(b"\n"), Ok(None));
    for text in ["Can't show!\n\n", "# transaction\n\n", "*a.pem\n\n"] {
        let read = open_transaction(text.as_bytes());
        assert_eq!(read, Err(Failure::Unexpected), "{text}");
    }
}

#[test]
fn reads_a_certificate_whatever_fields_there_are() {
    let read = |series, name, of: &StorePath| {
        Details::parse(&captured(series, name), of)
            .unwrap()
            .unwrap()
    };
    for series in SERIES {
        let used = read(series, "show-cert-used", &a());
        assert!(used.is_used());
        assert_eq!(used.dns_names, ["a.example", "www.a.example"]);
        assert_eq!(used.subject.as_deref(), Some("/CN=a.example"));
        assert_eq!(used.algorithm.as_deref(), Some("EC256"));
        assert!(used.not_after.unwrap().ends_with(" GMT"));
        assert_eq!(used.sha1.unwrap().len(), 40);

        let chain = read(series, "show-cert-chain", &a());
        assert_eq!(chain.chain_subjects, ["/CN=b.example"]);
        assert!(chain.has_sha1(&chain.sha1.clone().unwrap().to_lowercase()));

        let empty = read(series, "show-cert-empty", &c());
        assert_eq!((empty.status, empty.sha1), (Status::Empty, None));
        let unused = read(series, "show-cert-unused", &c());
        assert_eq!(unused.status, Status::Unused);
    }
}

#[test]
fn reads_only_the_certificate_that_was_asked_for() {
    each("show-cert-unknown", |b| Details::parse(b, &a()), &Ok(None));
    let other = |body: &[u8]| Details::parse(body, &c());
    each("show-cert-used", other, &Err(Failure::Unexpected));
    // Asked for as `*NAME`, which is nothing that runs.
    let of_transaction = |body: &[u8]| Details::parse(body, &a());
    each(
        "show-cert-uncommitted",
        of_transaction,
        &Err(Failure::Unexpected),
    );
    each("show-cert", of_transaction, &Err(Failure::Unexpected));
}

#[test]
fn reads_lists_and_their_entries() {
    let entry = |name: &str, line, options: &str, filters: &[&str]| CrtListEntry {
        name: path(name).to_string(),
        line,
        options: options.to_owned(),
        filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
    };
    let lists = ["list.txt", "live", "many.txt"].map(|list| path(list).to_string());
    each("show-list", crt_lists, &Ok(lists.to_vec()));
    let directory = ["live/a.pem", "live/b.pem"].map(|name| entry(name, 0, "", &[]));
    each(
        "show-list-directory",
        crt_list,
        &Ok(Some(directory.to_vec())),
    );
    let file = vec![
        entry("first.pem", 1, "", &[]),
        entry(
            "twice.pem",
            2,
            "alpn h2,http/1.1 ssl-min-ver TLSv1.2",
            &["*.twice.example", "!www.twice.example"],
        ),
        entry("twice.pem", 3, "", &[]),
    ];
    each("show-list-file", crt_list, &Ok(Some(file)));
    each("show-list-unknown", crt_list, &Ok(None));
    assert_eq!(
        crt_list(b"# /l\nno line number\n\n"),
        Err(Failure::Unexpected)
    );
}

#[test]
fn an_entry_may_have_spaces_and_colons_in_its_name() {
    let entries = crt_list(b"# /l\n/my certs/a:b.pem:7 a:1.example\n\n");
    let entries = entries.unwrap().unwrap();
    assert_eq!(entries[0].name, "/my certs/a:b.pem");
    assert_eq!((entries[0].line, entries[0].filters.len()), (7, 1));
}

#[test]
fn counts_the_servers_that_are_up() {
    each("show-servers", servers_up, &Ok(Some(1)));
    each("show-servers-unknown", servers_up, &Ok(None));
    each("show-cert", servers_up, &Err(Failure::Unexpected));
}

#[test]
fn new_and_delete() {
    each("new-created", |b| new(b, &c()), &Ok(Outcome::Done));
    each("new-exists", |b| new(b, &c()), &Ok(Outcome::Already));
    each("new-created", |b| new(b, &a()), &Err(Failure::Unexpected));
    each("delete-done", |b| delete(b, &c()), &Ok(Outcome::Done));
    each("delete-unknown", |b| delete(b, &c()), &Ok(Outcome::Already));
    each("delete-in-use", |b| delete(b, &c()), &Err(Failure::Refused));
    each(
        "delete-transaction",
        |b| delete(b, &c()),
        &Err(Failure::Refused),
    );
    each(
        "delete-done",
        |b| delete(b, &a()),
        &Err(Failure::Unexpected),
    );
}

#[test]
fn set_tells_whose_transaction_it_is() {
    each("set-created", |b| set(b, &a()), &Ok(Set::Created));
    each("set-updated", |b| set(b, &a()), &Ok(Set::Updated));
    each("set-unknown", |b| set(b, &c()), &Err(Failure::Refused));
    each("set-bad", |b| set(b, &a()), &Err(Failure::Rejected));
    each("set-bad", |b| set(b, &c()), &Err(Failure::Unexpected));
    each("commit-done", |b| set(b, &a()), &Err(Failure::Unexpected));
    let overwrote = Failure::Overwrote(a().to_string());
    each("set-created", |b| set(b, &c()), &Err(overwrote));
}

#[test]
fn set_beside_another_transaction_is_refused_except_by_2_6() {
    for series in SERIES {
        let read = set(&captured(series, "set-other"), &path("live/b.pem"));
        let expected = match series {
            "2.6" => Failure::Overwrote(a().to_string()),
            _ => Failure::ForeignTransaction(a().to_string()),
        };
        assert_eq!(read, Err(expected), "{series}");
    }
}

#[test]
fn commit_and_abort() {
    let foreign = Failure::ForeignTransaction(a().to_string());
    let b = path("live/b.pem");
    each("commit-done", |r| commit(r, &a()), &Ok(()));
    each("commit-many", |r| commit(r, &path("many.pem")), &Ok(()));
    each("commit-done", |r| commit(r, &b), &Err(Failure::Unexpected));
    each(
        "commit-none",
        |r| commit(r, &a()),
        &Err(Failure::NoTransaction),
    );
    each("commit-other", |r| commit(r, &b), &Err(foreign.clone()));
    each(
        "commit-mismatch",
        |r| commit(r, &a()),
        &Err(Failure::Rejected),
    );
    each("abort-done", |r| abort(r, &a()), &Ok(Outcome::Done));
    each("abort-none", |r| abort(r, &a()), &Ok(Outcome::Already));
    each("abort-other", |r| abort(r, &b), &Err(foreign));
    each("abort-done", |r| abort(r, &b), &Err(Failure::Unexpected));
}

/// From ssl_ckch.c of 2.6 and 3.5: hard to provoke.
#[test]
fn a_commit_that_fails_halfway_is_a_rejection() {
    let failed = b"Committing /etc/haproxy/live/a.pem..\nunable to load chain.\nFailed!\n\n";
    assert_eq!(commit(failed, &a()), Err(Failure::Rejected));
    let warned = b"Committing /etc/haproxy/live/a.pem.\nno DH parameters.\nSuccess!\n\n";
    assert_eq!(commit(warned, &a()), Ok(()));
}

#[test]
fn add_and_remove() {
    let add = |name: StorePath| move |body: &[u8]| add(body, &live(), &name);
    each("add-done", add(c()), &Ok(Outcome::Done));
    each("add-exists", add(c()), &Ok(Outcome::Already));
    each("add-empty", add(c()), &Err(Failure::Refused));
    each("add-unknown-list", add(c()), &Err(Failure::Refused));
    each("add-unknown-cert", add(c()), &Err(Failure::Refused));
    each("add-done", add(a()), &Err(Failure::Unexpected));
    let remove = |name: StorePath| move |body: &[u8]| remove(body, &live(), &name);
    each("remove-done", remove(c()), &Ok(Outcome::Done));
    each("remove-unknown", remove(c()), &Ok(Outcome::Already));
    each("remove-several", remove(c()), &Err(Failure::Refused));
    each("remove-default", remove(c()), &Err(Failure::Refused));
    each("remove-done", remove(a()), &Err(Failure::Unexpected));
}

#[test]
fn a_directory_is_named_without_its_slash() {
    let slash = path("live/");
    let reply = captured("2.6", "add-done");
    assert_eq!(add(&reply, &slash, &c()), Ok(Outcome::Done));
}

#[test]
fn what_can_happen_to_any_command_is_told_apart() {
    let check = |series: &str, name: &str| {
        let reply = captured(series, name);
        body(&reply, Command::ShowInfo).map(<[u8]>::to_vec)
    };
    for series in SERIES {
        assert!(matches!(check(series, "busy"), Err(Error::Busy)));
        assert!(matches!(check(series, "denied"), Err(Error::Denied)));
        let unknown = check(series, "unknown-command");
        assert!(matches!(unknown, Err(Error::UnknownCommand { .. })));
        let too_big = check(series, "set-too-big");
        match series {
            "2.6" => assert!(matches!(too_big, Err(Error::Empty { .. }))),
            _ => assert!(matches!(too_big, Err(Error::TooLarge { .. }))),
        }
    }
}

#[test]
fn what_the_socket_calls_an_error_is_one_in_any_words() {
    for (reply, is_refused) in [
        (&b"[3]: Not today!\n\n"[..], true),
        (b"[err]: Not today!\n\n", true),
        (b"[5]: Not today!\n\n", false),
        (b"Not today!\n\n", false),
    ] {
        let error = Failure::Unexpected.into_error(Command::ShowInfo, reply);
        assert_eq!(matches!(&error, Error::Refused { .. }), is_refused);
        assert!(error.to_string().contains(": Not today!"), "{error}");
    }
}

#[test]
fn reads_several_certificates_from_one_reply() {
    let names = [path("live/a.pem"), path("live/zz.pem"), path("live/a.pem")];
    for series in SERIES {
        let (used, unknown) = (
            captured(series, "show-cert-used"),
            captured(series, "show-cert-unknown"),
        );
        let reply = [&used[..], &unknown, &used].concat();
        let found = several(&reply, &names).unwrap();
        assert_eq!(found[0], Details::parse(&used, &names[0]).unwrap());
        assert!(found[0].is_some() && found[1].is_none() && found[2] == found[0]);
        assert_eq!(several(&reply, &names[..2]), Err(Failure::Unexpected));
        assert_eq!(several(&used, &names), Err(Failure::Unexpected));
    }
}

#[test]
fn a_severity_before_the_reply_is_passed_over() {
    each("severity", |b| new(b, &a()), &Ok(Outcome::Already));
}

#[test]
fn no_prefix_of_a_reply_passes_for_it() {
    for series in SERIES {
        for name in [
            "show-info",
            "show-cert-transaction",
            "set-created",
            "commit-done",
        ] {
            let reply = captured(series, name);
            for length in 0..reply.len() {
                assert!(
                    body(&reply[..length], Command::ShowInfo).is_err(),
                    "{name} {length}"
                );
            }
        }
    }
}

#[test]
fn any_changed_byte_is_survived() {
    for series in SERIES {
        for name in [
            "show-info",
            "show-cert",
            "show-cert-chain",
            "show-list-file",
            "set-other",
        ] {
            let reply = captured(series, name);
            for index in 0..reply.len() {
                let mut changed = reply.clone();
                changed[index] ^= 0xa5;
                read_as_everything(&changed);
            }
        }
    }
}

fn read_as_everything(reply: &[u8]) {
    let _ = body(reply, Command::ShowInfo);
    let _ = (Info::parse(reply), open_transaction(reply));
    let _ = (Details::parse(reply, &a()), crt_list(reply));
    let _ = (set(reply, &a()), commit(reply, &a()), abort(reply, &a()));
    assert!(quote(reply, None).is_ascii());
}

#[test]
fn a_quote_is_one_short_line_of_ascii() {
    assert_eq!(
        quote(b"a\n\tb\x1b[0m \xc3\xa9", None),
        "a b\\x1b[0m \\xc3\\xa9"
    );
    assert_eq!(quote(&[b'x'; 1000], None).len(), 300);
    assert!(quote(&b"word ".repeat(1000), None).len() <= 310);
}

#[test]
fn a_quote_holds_nothing_of_the_payload() {
    let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    let payload = Payload::from_pem(&pem).unwrap();
    let reply = format!("Unknown command: '{key}', or {}\n", &key[5..30]);
    let quoted = quote(reply.as_bytes(), Some(&payload));
    assert_eq!(quoted, "Unknown command: [removed] or [removed]");
}
