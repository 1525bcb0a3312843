-- One schema for two engines. Words in braces are filled in for the engine (migrate.go):
-- {ID} a 64-bit key made by the program, {SERIAL} a 64-bit key made by the engine, {BYTES} octets.
-- Times are milliseconds since 1970. Keys grow with time, so that inserts go to the right edge of each index.

-- +goose Up
CREATE TABLE nodes (
  tag      INTEGER PRIMARY KEY,     -- part of every key that this process makes
  instance TEXT    NOT NULL,        -- random, one per process
  name     TEXT    NOT NULL,
  seen_at  BIGINT  NOT NULL
);

-- What a message carries, shared by those that were forwarded from it.
CREATE TABLE contents (
  id           {ID},
  size         BIGINT  NOT NULL,    -- octets of the body, behind the Content-Type
  digest       {BYTES} NOT NULL,    -- of the PDU it came in (digest.go)
  content_type {BYTES} NOT NULL,    -- the Content-Type value as it stood on the wire
  created_at   BIGINT  NOT NULL
);
CREATE TABLE chunks (
  id         {SERIAL},
  content_id BIGINT  NOT NULL,
  seq        INTEGER NOT NULL,      -- 0, 1, …
  data       {BYTES} NOT NULL
);
CREATE UNIQUE INDEX chunks_content ON chunks (content_id, seq);
{EXTERNAL}

CREATE TABLE messages (
  id              {ID},
  secret          {BYTES}  NOT NULL, -- makes the Message-ID unpredictable
  content_id      BIGINT   NOT NULL, -- 0 once the content has been purged
  origin          SMALLINT NOT NULL,
  created_at      BIGINT   NOT NULL,
  sender          TEXT     NOT NULL, -- normalised address, '' unknown
  hidden          SMALLINT NOT NULL, -- the sender asked not to be shown
  transaction_id  TEXT     NOT NULL,
  version         SMALLINT NOT NULL,
  class           TEXT     NOT NULL,
  priority        SMALLINT NOT NULL,
  subject         TEXT     NOT NULL,
  deliver_at      BIGINT   NOT NULL,
  expires_at      BIGINT   NOT NULL,
  delivery_report SMALLINT NOT NULL,
  read_report     SMALLINT NOT NULL,
  size            BIGINT   NOT NULL, -- octets of the M-Retrieve.conf to expect
  head            {BYTES}  NOT NULL, -- the header fields that travel on, as they stood on the wire
  parent_id       BIGINT   NOT NULL, -- the message it was forwarded from, else 0
  open_recipients INTEGER  NOT NULL, -- recipients without a final state
  purge_at        BIGINT             -- when the content, then the row, goes; NULL while a recipient is open
);
CREATE INDEX messages_sender ON messages (sender, id);
CREATE INDEX messages_content ON messages (content_id);
CREATE INDEX messages_purge ON messages (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE recipients (
  id             {ID},
  message_id     BIGINT   NOT NULL,
  kind           SMALLINT NOT NULL, -- 1 To, 2 Cc, 3 Bcc
  address        TEXT     NOT NULL,
  state          SMALLINT NOT NULL,
  token          {BYTES}  NOT NULL, -- secret part of its Content-Location
  expires_at     BIGINT   NOT NULL,
  due_at         BIGINT,            -- next work; NULL when there is none
  lease          TEXT     NOT NULL, -- instance that works on it, else ''
  attempts       INTEGER  NOT NULL, -- notifications tried since the state changed
  report_allowed SMALLINT NOT NULL,
  read_status    SMALLINT NOT NULL,
  fetched_at     BIGINT   NOT NULL,
  final_at       BIGINT,
  last_error     TEXT     NOT NULL
);
CREATE INDEX recipients_message ON recipients (message_id);
CREATE INDEX recipients_due ON recipients (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX recipients_address ON recipients (address, id);

-- One row per submission that may come again; it is written with the message.
CREATE TABLE submissions (
  digest     {BYTES} PRIMARY KEY,   -- of subscriber, transaction id and PDU
  message_id BIGINT  NOT NULL,
  at         BIGINT  NOT NULL
);
CREATE INDEX submissions_at ON submissions (at);

-- Reports on their way to the sender: at most one of each kind for a recipient.
CREATE TABLE reports (
  id           {ID},
  recipient_id BIGINT   NOT NULL,
  message_id   BIGINT   NOT NULL,
  kind         SMALLINT NOT NULL,   -- 1 delivery, 2 read, 3 notice of a refusal
  address      TEXT     NOT NULL,   -- whom it tells
  about        TEXT     NOT NULL,   -- the recipient
  status       SMALLINT NOT NULL,   -- X-Mms-Status or X-Mms-Read-Status
  detail       TEXT     NOT NULL,
  at           BIGINT   NOT NULL,   -- when what it tells happened
  expires_at   BIGINT   NOT NULL,
  due_at       BIGINT,
  lease        TEXT     NOT NULL,
  attempts     INTEGER  NOT NULL,
  done_at      BIGINT,
  last_error   TEXT     NOT NULL
);
CREATE UNIQUE INDEX reports_once ON reports (recipient_id, kind);
CREATE INDEX reports_due ON reports (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX reports_message ON reports (message_id);

-- What happened to a message; outlives its content.
CREATE TABLE events (
  id           {SERIAL},
  message_id   BIGINT NOT NULL,
  recipient_id BIGINT NOT NULL,     -- 0: the message as a whole
  at           BIGINT NOT NULL,
  kind         TEXT   NOT NULL,
  detail       TEXT   NOT NULL
);
CREATE INDEX events_message ON events (message_id, id);

-- Call detail records: written with the final state, exported once.
CREATE TABLE cdrs (
  id           {SERIAL},
  recipient_id BIGINT NOT NULL UNIQUE,
  message_id   BIGINT NOT NULL,
  record       TEXT   NOT NULL,     -- JSON
  exporter     TEXT   NOT NULL,     -- node that writes it to its files, '' nobody yet
  open         SMALLINT             -- 1 until it stands in the files, then NULL
);
CREATE INDEX cdrs_open ON cdrs (exporter, id) WHERE open IS NOT NULL;
CREATE INDEX cdrs_message ON cdrs (message_id);

-- PDUs accepted for an MMSC that is down.
CREATE TABLE held (
  id             {ID},
  secret         {BYTES}  NOT NULL,
  content_id     BIGINT   NOT NULL, -- the whole PDU
  sender         TEXT     NOT NULL, -- subscriber, '' unknown: orders what it sent
  transaction_id TEXT     NOT NULL,
  pdu            SMALLINT NOT NULL, -- message type
  request        TEXT     NOT NULL, -- JSON: method, target, host, header
  created_at     BIGINT   NOT NULL,
  expires_at     BIGINT   NOT NULL,
  state          SMALLINT NOT NULL,
  due_at         BIGINT,
  lease          TEXT     NOT NULL,
  attempts       INTEGER  NOT NULL,
  target         TEXT     NOT NULL, -- the MMSC that has it now
  upstream_id    TEXT     NOT NULL, -- its Message-ID
  status         SMALLINT NOT NULL, -- its Response-Status
  final_at       BIGINT,
  last_error     TEXT     NOT NULL
);
CREATE INDEX held_due ON held (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX held_sender ON held (sender, id) WHERE due_at IS NOT NULL;
CREATE INDEX held_content ON held (content_id);
CREATE INDEX held_final ON held (final_at) WHERE final_at IS NOT NULL;

-- MMBox: what a subscriber keeps in the network.
CREATE TABLE mbox (
  id         {ID},
  owner      TEXT     NOT NULL,
  token      {BYTES}  NOT NULL,
  message_id BIGINT   NOT NULL,     -- 0: uploaded
  content_id BIGINT   NOT NULL,
  mm_state   SMALLINT NOT NULL,
  flags      TEXT     NOT NULL,     -- JSON list of keywords
  head       {BYTES}  NOT NULL,
  size       BIGINT   NOT NULL,
  stored_at  BIGINT   NOT NULL
);
CREATE INDEX mbox_owner ON mbox (owner, id);
CREATE INDEX mbox_content ON mbox (content_id);

CREATE TABLE subscribers (
  number  TEXT PRIMARY KEY,         -- normalised
  profile TEXT NOT NULL             -- JSON
);

-- +goose Down
DROP TABLE subscribers; DROP TABLE mbox; DROP TABLE held; DROP TABLE cdrs; DROP TABLE events; DROP TABLE reports;
DROP TABLE submissions; DROP TABLE recipients; DROP TABLE messages; DROP TABLE chunks; DROP TABLE contents; DROP TABLE nodes;
