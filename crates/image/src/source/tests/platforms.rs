//! What a single image says it runs on.

use super::*;

fn saved(config: &Value) -> (TempDir, String) {
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:v1"], "Layers": [] }]);
    let (folder, file) = archive(&[
        ("c.json", &serde_json::to_vec(config).unwrap()),
        ("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
    ]);
    (folder, format!("docker-archive:{}", file.display()))
}

fn read_for(platform: Option<&str>, name: &str) -> Result<Platform, ImageError> {
    let platform = platform.map(|text| text.parse().unwrap());
    let options = ReadOptions {
        platform: platform.as_ref(),
        ..options(&NoCache)
    };
    let source = open_source(&name.parse().unwrap(), &access())?;
    let image = read_images(&[source], options)?.remove(0).image;
    Ok(image.config.platform.unwrap())
}

#[test]
fn an_image_alone_that_is_for_another_platform_than_asked_for_is_an_error_that_names_both() {
    let layout = Layout::new();
    layout.index(&[layout.image(&[])]);
    let (_folder, archive) = saved(&json!({ "os": "linux", "architecture": "amd64" }));
    for name in [layout.name(), archive] {
        for asked in ["linux/arm64", "windows/amd64", "linux/arm/v7"] {
            let error = read_for(Some(asked), &name).unwrap_err().to_string();
            assert!(error.contains(asked) && error.contains("linux/amd64"), "{error}");
        }
        assert!(read_for(Some("linux/amd64"), &name).is_ok());
        assert!(read_for(None, &name).is_ok());
    }
}

#[test]
fn what_a_config_does_not_say_is_no_obstacle() {
    for (config, asked) in [
        (json!({}), "linux/arm64"),
        (json!({ "os": "linux" }), "linux/arm64"),
        (json!({ "architecture": "arm", "variant": "" }), "linux/arm/v7"),
        (
            json!({ "os": "linux", "architecture": "arm64" }),
            "linux/arm64/v8",
        ),
    ] {
        let (_folder, name) = saved(&config);
        assert!(read_for(Some(asked), &name).is_ok(), "{config} for {asked}");
    }
    let (_folder, name) = saved(&json!({ "os": "windows" }));
    assert!(read_for(Some("linux/amd64"), &name).is_err());
    // Nobody asked, and another processor than this one's: there is nothing else to take.
    let (_folder, name) = saved(&json!({ "os": "plan9", "architecture": "mips" }));
    assert_eq!(read_for(None, &name).unwrap().to_string(), "plan9/mips");
}
