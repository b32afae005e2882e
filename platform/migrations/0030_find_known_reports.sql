-- Is one report known? It was asked of every block of its shard. A block of few reports is found by an index now, and none is compressed.

-- Hashes do not compress, but for their times' upper bytes: Postgres went through all of each block and gave up, for a seventh of what a flush cost
-- it.
alter table dedup_blocks alter column block set storage external;

-- The first 8 bytes of each key of a block.
create function dedup_prefixes(block bytea) returns bigint[] language sql immutable strict parallel safe set search_path = pg_catalog as $$
  select array_agg(('x' || encode(substr(block, 1 + 56 * i, 8), 'hex'))::bit(64)::bigint) from generate_series(0, octet_length(block) / 56 - 1) i
$$;

-- Where reports come one by one there are as many blocks as reports: those are found by what is in them. A large block has no entry here: such a
-- flush has no time for an index entry a report, and there are few of them: they are read, 56 bytes a report.
create index dedup_blocks_small on dedup_blocks using gin (dedup_prefixes(block)) with (fastupdate = off) where entries <= 16;
create index dedup_blocks_large on dedup_blocks (tenant, shard) where entries > 16;
drop index dedup_blocks_by_shard;

-- The digest under a key in a block that holds its bytes; null: they are there by chance, and are no key. Where it holds them by chance before the key,
-- the key is looked for place by place.
create function dedup_digest(block bytea, wanted bytea) returns bytea language sql immutable strict set search_path = pg_catalog as $$
  select case when (position(wanted in block) - 1) % 56 = 0 then substr(block, position(wanted in block) + 16, 32)
    else (select substr(block, 17 + 56 * i, 32) from generate_series(0, octet_length(block) / 56 - 1) i where substr(block, 1 + 56 * i, 16) = wanted) end
$$;

-- Of the tenant's own reports. It runs as the owner: under row-level security no index may be asked by what may leak, which arrays are taken to.
create function known_digest(of_shard smallint, wanted bytea) returns bytea
  language sql stable strict security definer set search_path = pg_catalog, public, pg_temp as $$
  select digest from (
    select public.dedup_digest(block, wanted) as digest from public.dedup_blocks
    where entries <= 16 and tenant = current_setting('merit.tenant', true) and position(wanted in block) > 0
      and public.dedup_prefixes(block) @> array[('x' || encode(substr(wanted, 1, 8), 'hex'))::bit(64)::bigint]
    union all
    select public.dedup_digest(block, wanted) from public.dedup_blocks
    where entries > 16 and tenant = current_setting('merit.tenant', true) and shard = of_shard and position(wanted in block) > 0
  ) found where digest is not null limit 1
$$;
revoke execute on function known_digest(smallint, bytea) from public;
grant execute on function known_digest(smallint, bytea) to merit_app;
