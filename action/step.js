'use strict';
// What both steps share. No dependencies: what runs here is what is read here.

const { spawnSync } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');

/** Exit codes of headstart that are the job's business; see docs/guide/configuration.md. */
const FAILED = 1;
const WRONG_COMMAND_LINE = 2;
const INTERRUPTED = 130;

/** An input as the runner hands it over: upper case, blanks become underscores. */
function input(name) {
  return (process.env[`INPUT_${name.replace(/ /g, '_').toUpperCase()}`] || '').trim();
}

/** Flags for the inputs that are given, as one word each: no value is taken for a flag. */
function args(flags) {
  return Object.entries(flags)
    .map(([name, flag]) => [flag, input(name)])
    .filter(([, value]) => value !== '')
    .map(([flag, value]) => `--${flag}=${isSwitch(flag) ? value.toLowerCase() : value}`);
}

function isSwitch(flag) {
  return ['lookup-only', 'fail-on-cache-miss', 'save-always'].includes(flag);
}

/** Escapes what a workflow command says. */
function escape(text) {
  return text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
}

function info(text) {
  process.stdout.write(`${text}\n`);
}

function warn(text) {
  info(`::warning title=headstart::${escape(text)}`);
}

/** Keeps a value for the post step. */
function saveState(name, value) {
  const file = process.env.GITHUB_STATE;
  if (!file) return;
  const delimiter = `headstart_${crypto.randomBytes(16).toString('hex')}`;
  fs.appendFileSync(file, `${name}<<${delimiter}\n${value}\n${delimiter}\n`);
}

function isProgram(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The program: the named one, the one on PATH, or one built from this checkout. Null, with a warning, without any. */
function findHeadstart({ mayBuild }) {
  const known = process.env.STATE_HEADSTART_PROGRAM;
  if (known) return known;
  const found = find(mayBuild);
  if (found) saveState('HEADSTART_PROGRAM', found);
  return found;
}

function find(mayBuild) {
  const named = input('headstart');
  if (named) {
    if (isProgram(named)) return path.resolve(named);
    warn(`${named} is not a program that can be run; the cache is not used`);
    return null;
  }
  const folders = (process.env.PATH || '').split(path.delimiter).filter(Boolean);
  const onPath = folders.map((folder) => path.join(folder, 'headstart')).find(isProgram);
  if (onPath) return path.resolve(onPath);
  // The main step has said so.
  return mayBuild ? build() : null;
}

/** What the program is built from, in the checkout of the action. */
const SOURCES = ['Cargo.toml', 'Cargo.lock', 'cli', 'crates', 'cache-server'];

/** Feeds a hash what a file, or all files in a folder, are named and hold. What is not there counts as that. */
function digest(hash, root, name) {
  const file = path.join(root, name);
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (stat && stat.isDirectory()) {
    for (const below of fs.readdirSync(file).sort()) digest(hash, root, `${name}/${below}`);
  } else if (stat) {
    hash.update(`${name}\0${stat.size}\0`).update(fs.readFileSync(file));
  }
}

/** Builds it where a later job on this runner finds it; once for each state of the sources. */
function build() {
  const source = path.resolve(__dirname, '..');
  const base = process.env.RUNNER_TOOL_CACHE || process.env.RUNNER_TEMP || os.tmpdir();
  const hash = crypto.createHash('sha256');
  for (const name of SOURCES) digest(hash, source, name);
  const root = path.join(base, `headstart-${hash.digest('hex').slice(0, 16)}`);
  const program = path.join(root, 'bin', 'headstart');
  if (isProgram(program)) return program;
  info(`No headstart on PATH: building it from ${source}`);
  const command = ['install', '--locked', '--quiet', '--path', path.join(source, 'cli'), '--root', root];
  const built = spawnSync('cargo', command, { stdio: 'inherit' });
  if (built.status === 0 && isProgram(program)) return program;
  const why = built.error ? built.error.message : `cargo ended with ${built.status ?? built.signal}`;
  warn(`headstart could not be built (${why}); the cache is not used. Put headstart on PATH, or name it by the input headstart`);
  return null;
}

/** The exit code of a step that did nothing: a cache that is broken does not fail the job, unless it asked for that. */
function withoutCache(words) {
  if (words[1] !== 'restore' || input('fail-on-cache-miss').toLowerCase() !== 'true') return 0;
  info('::error title=headstart::no cache was restored, and fail-on-cache-miss is set');
  return FAILED;
}

/** Runs headstart; returns the exit code of the step. */
function run(program, words) {
  if (!program) return withoutCache(words);
  const env = { ...process.env };
  const token = input('token');
  if (token) info(`::add-mask::${escape(token)}`);
  const settings = { HEADSTART_REMOTE: input('remote'), HEADSTART_TOKEN: token, HEADSTART_STORE: input('store') };
  for (const [name, value] of Object.entries(settings)) {
    if (value) env[name] = value;
  }
  const ended = spawnSync(program, words, { stdio: 'inherit', env });
  if (!ended.error && [0, FAILED, WRONG_COMMAND_LINE, INTERRUPTED].includes(ended.status)) return ended.status;
  const why = ended.error ? `cannot be run: ${ended.error.message}` : `ended with ${ended.status ?? ended.signal}`;
  warn(`${program} ${why}; the cache is not used`);
  return withoutCache(words);
}

/** Ends the step once all that was said is written. */
function end(code) {
  process.exitCode = code;
}

module.exports = { args, end, findHeadstart, info, input, run };
