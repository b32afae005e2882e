import { expect, test } from 'vitest';
import type { Ask, Cluster } from '../../../../providers/kubernetes/cluster.ts';
import { readJobLog } from '../../../../providers/kubernetes/job-log.ts';
import type { Jobs } from '../../../../providers/kubernetes/jobs.ts';
import type { Pod } from '../../../../providers/kubernetes/pod.ts';
import { PodLogs } from '../../../../providers/kubernetes/pod-logs.ts';
import { StampedLog } from '../../../support/kubernetes/stamped-log.ts';

const MIB = 1024 ** 2;
const KEY = 'm-b1-1';
const signal = AbortSignal.timeout(60_000);
const OVER = { metadata: { name: KEY }, status: { conditions: [{ type: 'Complete', status: 'True' }] } };

/** A gang that has ended, whose nodes printed these lines, one a second; with how often each pod's log was asked for. */
function gangOf(lines: readonly (readonly string[])[]) {
  const asked = lines.map(() => 0);
  const logs = lines.map((of) => {
    let nowMs = Date.UTC(2027, 0, 1);
    const log = new StampedLog(() => nowMs);
    for (const line of of) {
      log.append(Buffer.from(line));
      nowMs += 1_000;
    }
    return log;
  });
  const pods = lines.map(
    (_, rank): Pod => ({
      metadata: {
        name: `p-${rank}`,
        uid: `u-${rank}`,
        labels: { 'batch.kubernetes.io/job-completion-index': String(rank) },
      },
      status: { containerStatuses: [{ name: 'job', state: { terminated: { exitCode: 0 } } }] },
    }),
  );
  const cluster = {
    bytes: async ({ path, query = {} }: Ask, limitBytes: number) => {
      const rank = Number(/p-(\d+)\/log$/.exec(path)?.[1]);
      asked[rank] = (asked[rank] ?? 0) + 1;
      const since = query.sinceTime as string | undefined;
      const sinceMs = since === undefined ? {} : { sinceMs: Date.parse(since) };
      return logs[rank]?.read({ stamps: true, limitBytes, ...sinceMs });
    },
  };
  const jobs = { findOurs: async () => OVER, pods: async () => pods } as unknown as Jobs;
  const podLogs = new PodLogs(cluster as unknown as Cluster);
  return {
    asked,
    whole: async (pieceBytes: number) => {
      const pieces: Uint8Array[] = [];
      for (let at = 0; ; ) {
        const piece = await readJobLog(jobs, podLogs, KEY, at, pieceBytes, signal);
        if (piece.length === 0) return Buffer.concat(pieces).toString();
        pieces.push(piece);
        at += piece.length;
      }
    },
  };
}

test('of a gang’s further nodes all is told up to the limit of one, and where one is cut it says so', async () => {
  const line = (text: string) => `${text.repeat(MIB / 2 - 1)}\n`;
  const long = Array.from({ length: 20 }, (_, i) => line(String.fromCharCode(97 + i)));
  const six = long.slice(0, 12);
  const { whole } = gangOf([['first\n'], long, six, ['last\n']]);
  const cut = '\n[merit] cut here: of this node only the first 8 MiB are told\n';
  const wanted = `first\n\n[merit] node 1:\n${long.slice(0, 16).join('')}${cut}\n[merit] node 2:\n${six.join('')}\n[merit] node 3:\nlast\n`;
  expect((await whole(MIB)) === wanted).toBe(true);
});

test('a node whose log was told is not read again for those after it', async () => {
  const { asked, whole } = gangOf(Array.from({ length: 20 }, (_, rank) => [`of ${rank}\n`]));
  const text = await whole(7);
  expect(text).toContain('[merit] node 19:\nof 19\n');
  // The first is asked each time whether there is more of it.
  for (const times of asked.slice(1)) expect(times).toBeLessThan(10);
});
