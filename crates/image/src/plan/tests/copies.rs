//! What lines of a Dockerfile can make.

use super::*;

/// The paths that are copied, layer by layer; nothing where copies do not make the image.
type Copied = Option<Vec<Vec<String>>>;

/// Plans images of these layers on a base that stays.
fn copied(base: TarMaker, tops: Vec<TarMaker>) -> Vec<Copied> {
    let base = base.finish();
    let tops = tops.into_iter().map(TarMaker::finish);
    let sources: Vec<_> = tops
        .map(|top| MemoryImage::source("image", vec![base.clone(), top]))
        .collect();
    let images = read(&sources).unwrap();
    let have = read(&[MemoryImage::source("base", vec![base])]).unwrap();
    let fleet = Fleet::of(&images, &have).unwrap();
    let plan = fleet.plan(PlanOptions {
        max_shared_layers: 16,
        times: Times::Keep,
    });
    let paths = |layer: CopiedLayer| {
        let paths = layer.paths.into_iter();
        paths
            .map(|path| String::from_utf8(path).unwrap())
            .collect::<Vec<_>>()
    };
    let copied = fleet.copies(&plan).into_iter();
    copied
        .map(|layers| Some(layers?.into_iter().map(paths).collect()))
        .collect()
}

fn one(base: TarMaker, top: TarMaker) -> Copied {
    copied(base, vec![top]).remove(0)
}

fn folder(tar: TarMaker, name: &str, mode: u32) -> TarMaker {
    tar.head(&Head {
        name,
        flag: b'5',
        mode,
        ..Head::default()
    })
}

fn base() -> TarMaker {
    folder(TarMaker::new(), "etc/", 0o755)
        .file("etc/passwd", b"root")
        .symlink("etc/mtab", "passwd")
}

fn paths(paths: &[&str]) -> Copied {
    Some(vec![paths.iter().map(|&path| path.to_owned()).collect()])
}

#[test]
fn folders_without_anything_of_other_layers_are_copied_whole_and_files_by_name() {
    let top = TarMaker::new()
        .file("app/code/main", b"1")
        .symlink("app/link", "code")
        .file("app/one", b"2")
        .hard_link("app/code/other", "app/one")
        .file("etc/app.conf", b"3");
    assert_eq!(one(base(), top), paths(&["app", "etc/app.conf"]));
}

#[test]
fn each_layer_has_its_paths_the_same_for_all_images() {
    let library = noise(1, 200_000);
    let service = |number: u8| {
        TarMaker::new()
            .file("app/lib/library", &library)
            .symlink("app/lib/link", "library")
            .file("app/main", &[number])
    };
    let layers = Some(vec![vec!["app/lib".to_owned()], vec!["app/main".to_owned()]]);
    assert_eq!(
        copied(base(), vec![service(1), service(2)]),
        [layers.clone(), layers]
    );
    // The folder is not the same in both.
    let more = folder(service(2), "app/lib/empty/", 0o755);
    assert_eq!(copied(base(), vec![service(1), more]), [None, None]);
}

#[test]
fn empty_folders_are_copied_too() {
    let top = folder(TarMaker::new().file("etc/a", b"1"), "var/data/", 0o755);
    assert_eq!(one(base(), top), paths(&["etc/a", "var"]));
    let top = folder(TarMaker::new().file("etc/a", b"1"), "var/", 0o1777);
    assert_eq!(one(base(), top), None);
}

#[test]
fn modes_of_folders_come_right_only_inside_of_copied_ones() {
    let inside = folder(TarMaker::new(), "app/private/", 0o700).file("app/private/key", b"1");
    assert_eq!(one(base(), inside), paths(&["app"]));
    let topmost = folder(TarMaker::new(), "app/", 0o700).file("app/key", b"1");
    assert_eq!(one(base(), topmost), None);
    let root = folder(base(), "root/", 0o700).file("root/.profile", b"1");
    let above = TarMaker::new().file("root/app/main", b"1");
    assert_eq!(one(root, above), None);
    let changed = folder(TarMaker::new().file("app/main", b"1"), "etc/", 0o700);
    assert_eq!(one(base(), changed), None);
}

#[test]
fn what_builders_lose_or_follow_is_not_copied() {
    let with = |tar: TarMaker| one(base(), tar.file("etc/more", b"1"));
    assert_eq!(
        with(TarMaker::new().symlink("etc/link", "passwd")),
        None,
        "it is followed"
    );
    let links = TarMaker::new().file("etc/a", b"1").hard_link("etc/b", "etc/a");
    assert_eq!(with(links), None, "two files");
    assert_eq!(with(TarMaker::new().of_type(b'6', "app/pipe", "")), None);
    let attribute = TarMaker::new().pax(&[("SCHILY.xattr.user.a", "1")]);
    assert_eq!(with(attribute.file("app/file", b"1")), None);
    assert_eq!(with(TarMaker::new().of_type(b'0', "etc/.wh.passwd", "")), None);
}

#[test]
fn what_is_in_the_way_of_a_copy() {
    let base = || {
        base()
            .symlink("opt/link", "a")
            .file("opt/file", b"1")
            .file("opt/folder/file", b"2")
    };
    assert_eq!(
        one(base(), TarMaker::new().file("opt/link", b"new")),
        paths(&["opt/link"])
    );
    let link = TarMaker::new()
        .symlink("opt/file", "a")
        .file("opt/folder/file", b"3")
        .file("opt/link", b"4");
    assert_eq!(one(base(), link), paths(&["opt"]));
    let other = TarMaker::new()
        .symlink("opt/link", "b")
        .file("opt/folder/file", b"3")
        .file("opt/file", b"4");
    assert_eq!(one(base(), other), None, "a link over a link");
    assert_eq!(one(base(), TarMaker::new().file("opt/file/below", b"new")), None);
    assert_eq!(one(base(), TarMaker::new().file("opt/folder", b"new")), None);
}

#[test]
fn an_image_of_one_new_layer_is_copied_whole() {
    let top = TarMaker::new().symlink("bin", "usr/bin").file("usr/bin/a", b"1");
    let images = read(&[MemoryImage::source("image", vec![top.finish()])]).unwrap();
    let fleet = Fleet::of(&images, &[]).unwrap();
    let plan = fleet.plan(PlanOptions {
        max_shared_layers: 16,
        times: Times::Keep,
    });
    let copied = fleet.copies(&plan)[0].clone().unwrap();
    assert_eq!(copied[0].paths, [b""]);
}
