import { Cron } from 'croner';
import { type Refusal, refuse } from '../core/refusal.ts';
import { isTimeZone } from './off-peak.ts';

/** A moment that comes again and again: five fields of cron, read in a time zone. */
export interface CronSchedule {
  readonly cron: string;
  /** IANA name, such as Europe/Berlin. */
  readonly timeZone: string;
}

export function scheduleRefusals({ cron, timeZone }: CronSchedule, field: string): readonly Refusal[] {
  if (!isTimeZone(timeZone))
    return [
      refuse('time_zone', `${field}.timeZone`, 'is no time zone', 'write an IANA name such as Europe/Berlin or UTC'),
    ];
  if (parsed(cron, timeZone) === undefined)
    return [refuse('cron', `${field}.cron`, 'is no cron expression of five fields', 'write 0 3 * * 0')];
  return [];
}

/** The first moment after `afterMs`; undefined: there is none. A clock time that summer time leaves out is taken as soon as the clock goes on. */
export function nextMoment(schedule: CronSchedule, afterMs: number): number | undefined {
  return parsed(schedule.cron, schedule.timeZone)?.nextRun(new Date(afterMs))?.getTime();
}

function parsed(cron: string, timezone: string): Cron | undefined {
  try {
    return new Cron(cron, { timezone, mode: '5-part', paused: true });
  } catch {
    return undefined;
  }
}
