//! Repositories as tests make and question them, through the installed git.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use crate::git::git_command;

/// A repository on disk, with or without work tree.
#[derive(Debug, Clone)]
pub struct Repository(PathBuf);

impl Repository {
    /// Makes a repository with a work tree at `path`, on branch `main`.
    pub fn create(path: impl AsRef<Path>) -> Self {
        Self::make(path.as_ref(), &["init", "-q"])
    }

    /// Makes a bare repository at `path` that serves filters and any object, as the large hosts do.
    pub fn create_bare(path: impl AsRef<Path>) -> Self {
        let repository = Self::make(path.as_ref(), &["init", "-q", "--bare"]);
        repository.serve_filters();
        repository
    }

    fn make(path: &Path, args: &[&str]) -> Self {
        let output = git_command().args(args).arg(path).output().expect("git runs");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Repository(path.to_owned())
    }

    /// The repository that is at `path` already.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Repository(path.as_ref().to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its `file://` URL.
    pub fn file_url(&self) -> String {
        format!("file://{}", self.0.display())
    }

    /// Allows clients to filter and to ask for any object.
    pub fn serve_filters(&self) {
        let _ = self.git(["config", "uploadpack.allowFilter", "true"]);
        let _ = self.git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    }

    /// Runs git in it and answers what it printed, without the last line's end; panics when git fails.
    #[track_caller]
    pub fn git<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.try_git(&args);
        let stdout = String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "git {args:?} in {}: {stdout}{stderr}",
            self.0.display()
        );
        stdout
    }

    /// Runs git in it, however it ends.
    pub fn try_git<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        git_command()
            .current_dir(&self.0)
            .args(args)
            .output()
            .expect("git runs")
    }

    /// Writes a file into the work tree, with the folders above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.place(path.as_ref()), content).expect("a fixture's file can be written");
        self
    }

    /// Writes an executable file into the work tree.
    pub fn write_executable(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        self.write(&path, content);
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(0o755)).expect("our own file");
        self
    }

    /// Makes a symlink in the work tree.
    pub fn symlink(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> &Self {
        symlink(target, self.place(path.as_ref())).expect("a fixture's link can be made");
        self
    }

    fn place(&self, path: &Path) -> PathBuf {
        let path = self.0.join(path);
        let parent = path.parent().expect("a path below the repository has a parent");
        fs::create_dir_all(parent).expect("a fixture's folder can be made");
        path
    }

    /// Commits everything in the work tree and answers the commit's ID.
    pub fn commit(&self, message: &str) -> String {
        let _ = self.git(["add", "-A"]);
        let _ = self.git(["commit", "-q", "--allow-empty", "-m", message]);
        self.git(["rev-parse", "HEAD"])
    }

    /// Writes an object of any content, also one that git itself would refuse, and answers its ID.
    pub fn write_object(&self, kind: &str, content: &[u8]) -> String {
        let mut command = git_command();
        command
            .current_dir(&self.0)
            .args(["hash-object", "-w", "--literally", "--stdin", "-t", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut hash = command.spawn().expect("git runs");
        let written = hash.stdin.take().expect("stdin was piped").write_all(content);
        let output = hash
            .wait_with_output()
            .expect("a child of ours can be waited for");
        assert!(
            output.status.success() && written.is_ok(),
            "git hash-object in {}",
            self.0.display()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Feeds a `git fast-import` stream to it.
    pub fn fast_import(&self, stream: &[u8]) {
        let mut command = git_command();
        command
            .current_dir(&self.0)
            .args(["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped());
        let mut import = command.spawn().expect("git runs");
        let written = import.stdin.take().expect("stdin was piped").write_all(stream);
        let status = import.wait().expect("a child of ours can be waited for");
        assert!(
            status.success() && written.is_ok(),
            "git fast-import in {}: {status}",
            self.0.display()
        );
    }
}
