// One installer at a time, by a file that names its owner. An owner that died is recognised, so an interrupted install blocks nobody.

import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';

const POLL_MS = 250;
/** The longest that another installer is waited for. */
const WAIT_LIMIT_MS = 20 * 60_000;
/** A lock file that cannot be read as ours is somebody's that died while writing, once it is this old. */
const TORN_LOCK_MS = 10_000;

/** When a process began, so that a process id given out again is not taken for its first owner. Linux only; elsewhere ''. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function isAlive(owner) {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (error.code !== 'EPERM') return false;
  }
  return owner.start === startOf(owner.pid);
}

function readOwner(path) {
  try {
    const owner = JSON.parse(readFileSync(path, 'utf8'));
    return Number.isSafeInteger(owner.pid) ? owner : undefined;
  } catch {
    return undefined;
  }
}

function isTorn(path) {
  try {
    return Date.now() - statSync(path).mtimeMs > TORN_LOCK_MS;
  } catch {
    return false;
  }
}

/** Takes a lock that its owner left behind off the path; a lock that somebody took meanwhile is put back. */
function breakLock(path, deadOwner) {
  const aside = `${path}.dead-${randomBytes(6).toString('hex')}`;
  try {
    renameSync(path, aside);
    if (JSON.stringify(readOwner(aside)) !== JSON.stringify(deadOwner)) linkSync(aside, path);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Runs `work` while holding the lock file at `path`. `onWait` is called once where another holds it. */
export async function withLock(path, onWait, work) {
  const mine = `${path}.${process.pid}-${randomBytes(6).toString('hex')}`;
  const deadline = Date.now() + WAIT_LIMIT_MS;
  writeFileSync(mine, JSON.stringify({ pid: process.pid, start: startOf(process.pid) }));
  try {
    for (let told = false; ; ) {
      try {
        // A link appears whole, with its content, or not at all.
        linkSync(mine, path);
        break;
      } catch (error) {
        if (error.code !== 'EEXIST') throw error;
      }
      const owner = readOwner(path);
      if (owner === undefined ? isTorn(path) : !isAlive(owner)) {
        breakLock(path, owner);
        continue;
      }
      if (!told && owner !== undefined) {
        told = true;
        onWait(owner.pid);
      }
      if (Date.now() > deadline) throw new Error(`process ${owner?.pid ?? '?'} has held ${path} for too long`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    rmSync(mine, { force: true });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}
