import { describe, test } from 'vitest';
import local from '../../providers/local/adapter.ts';
import { CHECK_NAMES, describeProvider } from '../../providers/merit-provider/src/kit/index.ts';
import { dueToday } from '../support/rotating.ts';

/** What this machine cannot be made to show: it has no network, no pages, no queue, no clock and no credentials of its own. */
const NOT_HERE = [
  'config-refused',
  'lost-reply',
  'timeout-after-success',
  'torn-reply',
  'backend-away',
  'abort-honoured',
  'throttled',
  'auth-expired',
  'quota-exceeded',
  'refusals-cleaned',
  'eventual-consistency',
  'unknown-status',
  'slow-start',
  'paging',
  'partial-list',
  'preemption-notice',
  'release-queued',
  'clock-skew',
];
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));

describeProvider(local, { only: dueToday(required), required }, { describe, test });
