//! What a file would change, before anybody drafts it.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_compared_with_the_version_that_serves_or_with_one_that_is_named() {
    let setting = Setting::new();
    let hub = setting.hub();
    let file = setting.write("next.yaml", &pipeline("1.2.0", false, &["first", "third"]));
    refused(&hub, "ann", &["pipeline", "diff", &file], &["pipeline.unknown"]);
    bring_in(&hub, &setting, "1.0.0", &pipeline("1.0.0", false, &["first"]));
    bring_in(&hub, &setting, "1.1.0", &pipeline("1.1.0", false, &["first", "second"]));

    let differs = done(&hub, "ann", &["pipeline", "diff", &file]);
    for part in
        ["test/orders 1.1.0 → ", "next.yaml", "version: 1.1.0 → 1.2.0", "removed rule second", "added rule third"]
    {
        assert!(differs.contains(part), "no `{part}` in {differs}");
    }
    let differs = done(&hub, "ann", &["pipeline", "diff", "test/orders@1.0.0", &file]);
    assert!(differs.contains("added rule third") && !differs.contains("second"), "{differs}");
    let same = setting.write("same.yaml", &pipeline("1.1.0", false, &["first", "second"]));
    assert!(done(&hub, "ann", &["pipeline", "diff", &same]).contains("nothing differs"));

    let other = setting.write("other.yaml", &pipeline("1.0.0", false, &["first"]).replace(NAME, "test/returns"));
    refused(&hub, "ann", &["pipeline", "diff", "test/orders@1.0.0", &other], &["are not versions of the same"]);
    let wrong = setting.write("wrong.yaml", &pipeline("1.2.0", false, &["first"]).replace("rule:", "rul:"));
    refused(&hub, "ann", &["pipeline", "diff", &wrong], &["wrong.yaml:", "to mend"]);
    refused(&hub, "ann", &["pipeline", "diff", "test/orders@1.0.0"], &["say what to compare it with"]);
    assert!(hub.stop());
}
