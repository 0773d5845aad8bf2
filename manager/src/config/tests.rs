use super::*;

const SMALLEST: &str = r#"
[account]
email = "ops@example.com"
agree-to-terms = true

[haproxy]
socket = "/run/haproxy/admin.sock"
certificates = "/var/lib/spoacme/live"
verify = ["127.0.0.1:443"]

[[certificate]]
names = ["example.com", "www.example.com"]
"#;

fn load(files: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let prefix = format!("{}/", directory.path().display());
    Config::load(&directory.path().join("spoacme.toml")).map_err(|error| {
        error
            .to_string()
            .replace(&prefix, "")
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

#[test]
fn the_smallest_file_is_enough() {
    let config = load(&[("spoacme.toml", SMALLEST)]).unwrap();
    assert_eq!(config.state_directory, Path::new("/var/lib/spoacme"));
    assert_eq!(
        config.account.directory,
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(config.agent.control, Path::new("/run/spoacme/agent.sock"));
    assert_eq!(config.certificates.len(), 1);
    assert_eq!(config.certificates[0].name.as_str(), "example.com");
    assert_eq!(
        config.certificate("www.example.com"),
        Some(&config.certificates[0])
    );
}

#[test]
fn further_files_add_certificates() {
    let extra = "[[certificate]]\nname = \"shop\"\nnames = [\"shop.example.com\"]\n";
    let config = load(&[
        ("spoacme.toml", SMALLEST),
        ("conf.d/shop.toml", extra),
        ("conf.d/.shop.toml.swp", "junk"),
        ("conf.d/README", "junk"),
    ]);
    let names: Vec<_> = config
        .unwrap()
        .certificates
        .into_iter()
        .map(|c| c.name.to_string())
        .collect();
    assert_eq!(names, ["example.com", "shop"]);
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let text = r#"stat-directory = "/x"
[account]
emial = "ops@example.com"
agree-to-terms = "yes"
directory = "http://ca.example/"

[haproxy]
socket = "relative.sock"
verify = ["localhost"]
colour = "blue"

[[certificate]]
names = ["*.example.com", "example.com", "EXAMPLE.com"]
"#;
    let problems = load(&[("spoacme.toml", text)]).unwrap_err();
    let expected = [
        "spoacme.toml:1: unknown key `stat-directory`; did you mean `state-directory`?",
        "spoacme.toml:3: unknown key `emial`; did you mean `email`?",
        "spoacme.toml:4: invalid type: string \"yes\", expected a boolean",
        "spoacme.toml:10: unknown key `colour`; known here: name, socket, certificates, crt-list, group, verify, tune-bufsize",
        "spoacme.toml:5: directory \"http://ca.example/\" is not an https URL",
        "spoacme.toml:8: socket: ",
        "spoacme.toml:9: verify \"localhost\" is not IP:PORT, such as \"127.0.0.1:443\"",
        "spoacme.toml:13: \"*.example.com\" is a wildcard",
        "spoacme.toml:13: example.com is listed twice",
        "spoacme.toml: [account] lacks `agree-to-terms = true`",
        "spoacme.toml: [haproxy] lacks `certificates`",
    ];
    for text in expected {
        assert!(
            problems.iter().any(|p| p.starts_with(text)),
            "{text} in {problems:#?}"
        );
    }
    assert!(problems.len() <= expected.len() + 1, "{problems:#?}");
}

#[test]
fn a_syntax_error_names_its_line() {
    let problems = load(&[("spoacme.toml", "[account]\nemail = \n")]).unwrap_err();
    assert!(problems[0].starts_with("spoacme.toml:2: "), "{problems:?}");
}

#[test]
fn two_certificates_of_one_name_are_refused() {
    let extra = "[[certificate]]\nnames = [\"example.com\"]\n";
    let problems = load(&[("spoacme.toml", SMALLEST), ("conf.d/a.toml", extra)]).unwrap_err();
    assert!(problems[0].starts_with("conf.d/a.toml:1: a certificate called example.com"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/spoacme.toml")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot read the configuration /nonexistent/spoacme.toml: "),
        "{text}"
    );
}

#[test]
fn several_haproxys_each_have_a_name() {
    let second = r#"
[[haproxy]]
name = "second"
socket = "master@/run/haproxy-master.sock"
certificates = "/etc/second/certs"
crt-list = "/etc/second/list"
tune-bufsize = 32768
verify = ["[::1]:8443"]

[[external]]
path = "/etc/others"
haproxy = ["second"]
"#;
    let config = load(&[("spoacme.toml", SMALLEST), ("conf.d/b.toml", second)]).unwrap();
    let names = Vec::from_iter(config.haproxys.iter().map(|h| h.name.as_str()));
    assert_eq!(names, ["haproxy", "second"]);
    assert_eq!(config.haproxys[0].buffer_size, 16_384);
    assert_eq!(config.haproxys[1].buffer_size, 32_768);
    assert_eq!(config.externals[0].haproxys, ["second"]);
    let faulty = second
        .replace("name = \"second\"\n", "")
        .replace("32768", "7")
        .replace("/etc/others", "others");
    let problems = load(&[("spoacme.toml", SMALLEST), ("conf.d/b.toml", &faulty)]).unwrap_err();
    for text in [
        "conf.d/b.toml:6: tune-bufsize 7 is not between",
        "conf.d/b.toml: two [haproxy] are called \"haproxy\"",
        "conf.d/b.toml:10: path \"others\" is not an absolute path",
    ] {
        assert!(
            problems.iter().any(|p| p.starts_with(text)),
            "{text} in {problems:#?}"
        );
    }
}
