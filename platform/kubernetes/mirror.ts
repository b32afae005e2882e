import type { Clock } from '../clock.ts';
import type { KubernetesApi, Query } from './api.ts';
import { type KubernetesObject, listAll } from './list.ts';
import { KubernetesRefusal } from './refusal.ts';

/** The server says something at least every minute (bookmarks); a watch that was silent for longer than this may be dead, and is begun anew by a list. */
const SILENT_MS = 90_000;
/** The server itself ends a watch after this. */
const WATCH_SECONDS = 300;
/** Between two beginnings, doubled up to the second while they fail. */
const PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** Nobody asked for so long: the watch ends, and the next who asks begins another. */
const IDLE_MS = 300_000;

export interface MirrorLimits {
  readonly silentMs?: number;
  readonly watchSeconds?: number;
  readonly idleMs?: number;
}

interface WatchEvent<T> {
  readonly type: string;
  readonly object: T & { readonly code?: number; readonly message?: string };
}

/**
 * The objects at a path as a watch tells them: a list, then its changes, for as long as somebody asks. It is late by what the network is; where the watch
 * broke off, was refused (410 Gone) or was silent too long, it is not fresh until a new list has come.
 */
export class Mirror<T extends KubernetesObject> {
  readonly #api: KubernetesApi;
  readonly #path: string;
  readonly #query: Query;
  readonly #clock: Clock;
  readonly #limits: Required<MirrorLimits>;
  readonly #listeners = new Set<() => void>();
  #objects: Map<string, T> | undefined;
  /** Made anew when it is asked for after a change. */
  #index:
    | {
        readonly label: string;
        readonly of: ReadonlyMap<string, T>;
        readonly changes: number;
        readonly byValue: ReadonlyMap<string, readonly T[]>;
      }
    | undefined;
  #changes = 0;
  #heardMs = 0;
  #askedMs = 0;
  #stop: AbortController | undefined;
  #closed = false;
  /** So far. */
  #lists = 0;

  constructor(api: KubernetesApi, path: string, query: Query, clock: Clock, limits: MirrorLimits = {}) {
    this.#api = api;
    this.#path = path;
    this.#query = query;
    this.#clock = clock;
    this.#limits = { silentMs: SILENT_MS, watchSeconds: WATCH_SECONDS, idleMs: IDLE_MS, ...limits };
  }

  /** All of them by name; undefined: not known now, so ask the server. Begins the watch where there is none. */
  fresh(): ReadonlyMap<string, T> | undefined {
    if (this.#closed) return undefined;
    this.#askedMs = this.#clock.now();
    if (this.#stop === undefined) {
      this.#stop = new AbortController();
      void this.#follow(this.#stop.signal);
    }
    if (this.#objects === undefined || this.#clock.now() - this.#heardMs > this.#limits.silentMs) return undefined;
    return this.#objects;
  }

  /** Those that have this label, as `fresh` has them. */
  by(label: string, value: string): readonly T[] | undefined {
    const objects = this.fresh();
    if (objects === undefined) return undefined;
    if (this.#index?.label !== label || this.#index.of !== objects || this.#index.changes !== this.#changes) {
      const byValue = new Map<string, T[]>();
      for (const object of objects.values()) {
        const there = byValue.get(object.metadata.labels?.[label] ?? '');
        if (there === undefined) byValue.set(object.metadata.labels?.[label] ?? '', [object]);
        else there.push(object);
      }
      this.#index = { label, of: objects, changes: this.#changes, byValue };
    }
    return this.#index.byValue.get(value) ?? [];
  }

  /** Returns at the next change or after `ms`, whichever comes first. */
  async changed(ms: number, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const listener = () => stop.abort();
    this.#listeners.add(listener);
    try {
      await this.#clock.sleep(ms, AbortSignal.any([signal, stop.signal]));
    } finally {
      this.#listeners.delete(listener);
    }
  }

  close(): void {
    this.#closed = true;
    this.#stop?.abort();
    this.#stop = undefined;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let pauseMs = PAUSE_MS;
    while (!signal.aborted) {
      const lists = this.#lists;
      // Whoever asks meanwhile asks the server, which tells what is wrong.
      await this.#once(signal).catch(() => {});
      pauseMs = this.#lists > lists ? PAUSE_MS : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      this.#objects = undefined;
      if (!signal.aborted) await this.#clock.sleep(pauseMs, signal);
      if (this.#clock.now() - this.#askedMs > this.#limits.idleMs) break;
    }
    if (this.#stop?.signal === signal) this.#stop = undefined;
  }

  /** A list and the watches after it, until one of them fails or is silent too long, or nobody asks any more. */
  async #once(outer: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const signal = AbortSignal.any([outer, stop.signal]);
    const { items, resourceVersion } = await listAll<T>(this.#api, this.#path, this.#query, signal);
    this.#lists++;
    const objects = new Map(items.map((one) => [one.metadata.name, one]));
    this.#heard();
    const guard = this.#guard(stop, signal);
    try {
      let at = resourceVersion;
      while (!signal.aborted) {
        const sinceMs = this.#clock.now();
        at = await this.#watch(objects, at, signal);
        // Whoever ends each watch at once is not asked without rest.
        if (this.#clock.now() - sinceMs < PAUSE_MS) await this.#clock.sleep(PAUSE_MS, signal);
      }
    } finally {
      stop.abort();
      await guard;
    }
  }

  /** Aborts a watch that is dead, or that nobody needs. */
  async #guard(stop: AbortController, signal: AbortSignal): Promise<void> {
    const { silentMs, idleMs } = this.#limits;
    while (!signal.aborted) {
      await this.#clock.sleep(Math.min(silentMs, idleMs) / 4, signal);
      const nowMs = this.#clock.now();
      if (nowMs - this.#heardMs > silentMs || nowMs - this.#askedMs > idleMs) stop.abort();
    }
  }

  /** Returns the version to go on from where the server ended the watch in its time. */
  async #watch(objects: Map<string, T>, from: string, signal: AbortSignal): Promise<string> {
    let at = from;
    const query = {
      ...this.#query,
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: from,
      timeoutSeconds: this.#limits.watchSeconds,
    };
    // Before that, what changed after the list is told by nobody.
    const begun = () => {
      this.#objects = objects;
    };
    for await (const line of this.#api.lines({ path: this.#path, query, signal }, begun)) {
      const { type, object } = JSON.parse(line) as WatchEvent<T>;
      this.#heard();
      if (type === 'ERROR') throw new KubernetesRefusal(object.code ?? 500, JSON.stringify(object), undefined);
      at = object.metadata.resourceVersion ?? at;
      if (type === 'BOOKMARK') continue;
      if (type === 'DELETED') objects.delete(object.metadata.name);
      else objects.set(object.metadata.name, object);
      this.#changes++;
      for (const listener of [...this.#listeners]) listener();
    }
    return at;
  }

  #heard(): void {
    this.#heardMs = this.#clock.now();
  }
}
