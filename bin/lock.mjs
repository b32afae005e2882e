// One process at a time, by a folder that names its owner. An owner that died is recognised, so a process that was killed blocks nobody.
//
// Each owner is a symbolic link named by its turn, 1, 2, 3 …, whose target is the owner's record: a link appears whole or not at all, and of
// several that make the same one only one does. Nothing that decides is ever removed: who finds the highest turn free makes the next one. So
// there is no moment in which a slow process could take away what a faster one has written since it looked.

import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const POLL_MS = 250;
/** The longest that another owner is waited for. */
const WAIT_LIMIT_MS = 20 * 60_000;
/** The record of a turn that was given back. */
const FREE = 'free';

function turnsOf(folder) {
  return readdirSync(folder)
    .filter((name) => /^[1-9]\d{0,14}$/.test(name))
    .map(Number);
}

/** The highest turn and its record; turn 0, free, where there is none. */
function lastTurn(folder) {
  for (;;) {
    const turn = Math.max(0, ...turnsOf(folder));
    if (turn === 0) return { turn, record: FREE };
    try {
      return { turn, record: readlinkSync(join(folder, String(turn))) };
    } catch (error) {
      // A higher one has been made, and this one swept; what is no link at all names nobody.
      if (error.code === 'EINVAL') return { turn, record: FREE };
      if (error.code !== 'ENOENT') throw error;
    }
  }
}

function madeTurn(folder, turn, record) {
  try {
    symlinkSync(record, join(folder, String(turn)));
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  }
}

/** The record of the living owner; undefined where nobody has the lock. `isAlive` is asked of a record. */
export function ownerOf(folder, isAlive) {
  try {
    const { record } = lastTurn(folder);
    return record !== FREE && isAlive(record) ? record : undefined;
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
    return undefined;
  }
}

/**
 * Takes the lock for a process, told by `record`: { release } where it was free or its owner is dead, else { owner }, the other's record.
 * The folder is made where it is missing; a lock that is given back leaves one link in it.
 */
export function tryLock(folder, record, isAlive) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (;;) {
    const last = lastTurn(folder);
    if (last.record !== FREE && isAlive(last.record)) return { owner: last.record };
    const mine = last.turn + 1;
    if (!madeTurn(folder, mine, record)) continue;
    const turns = turnsOf(folder);
    if (Math.max(...turns) > mine) {
      // We had looked before others came and went, and their sweep made room for a turn that is long over.
      rmSync(join(folder, String(mine)), { force: true });
      continue;
    }
    for (const turn of turns) if (turn < mine) rmSync(join(folder, String(turn)), { force: true });
    return {
      release: () => {
        // Nobody else makes the next turn while this one's owner lives.
        if (existsSync(folder) && madeTurn(folder, mine + 1, FREE)) rmSync(join(folder, String(mine)), { force: true });
      },
    };
  }
}

/** When a process began, so that a process id given out again is not taken for its first owner. Linux only; elsewhere ''. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function isAlive(record) {
  const [pid, start] = record.split(' ');
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (error.code !== 'EPERM') return false;
  }
  return start === startOf(pid);
}

/** Runs `work` while holding the lock folder. `onWait` is called once, with the process id, where another holds it. */
export async function withLock(folder, onWait, work) {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  let told = false;
  let lock = tryLock(folder, `${process.pid} ${startOf(process.pid)}`, isAlive);
  while (lock.owner !== undefined) {
    const pid = lock.owner.split(' ')[0];
    if (!told) onWait(pid);
    told = true;
    if (Date.now() > deadline) throw new Error(`process ${pid} has held ${folder} for too long`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    lock = tryLock(folder, `${process.pid} ${startOf(process.pid)}`, isAlive);
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}
