-- One schema for two engines; words in braces are filled in for the engine (database.go). Times are milliseconds since 1970.

-- +goose Up
-- The catalogue. Each change raises the revision, by which other nodes learn of it.
CREATE TABLE svc_services (
  name       TEXT   PRIMARY KEY,
  body       TEXT   NOT NULL,      -- YAML
  updated_at BIGINT NOT NULL
);
CREATE TABLE svc_revision (
  id       INTEGER PRIMARY KEY,    -- 1
  revision BIGINT  NOT NULL
);
INSERT INTO svc_revision (id, revision) VALUES (1, 1);

-- The key of the reply URLs' tokens.
CREATE TABLE svc_keys (
  id     INTEGER PRIMARY KEY,      -- 1
  secret TEXT    NOT NULL
);

-- A user with a service, turn by turn.
CREATE TABLE svc_sessions (
  id         TEXT    PRIMARY KEY,
  service    TEXT    NOT NULL,
  user_addr  TEXT    NOT NULL,
  code       TEXT    NOT NULL,     -- that the user last wrote to
  turn       INTEGER NOT NULL,     -- turns taken in
  state      {BYTES},              -- the provider's
  started_at BIGINT  NOT NULL,
  active_at  BIGINT  NOT NULL,
  expires_at BIGINT  NOT NULL,
  ended_at   BIGINT,               -- NULL: open
  ended_why  TEXT    NOT NULL
);
CREATE UNIQUE INDEX svc_sessions_open ON svc_sessions (user_addr, service) WHERE ended_at IS NULL;
CREATE INDEX svc_sessions_expiry ON svc_sessions (expires_at) WHERE ended_at IS NULL;
CREATE INDEX svc_sessions_old ON svc_sessions (ended_at) WHERE ended_at IS NOT NULL;

-- What has to be done: turns, endings and reports for providers, notices for users.
CREATE TABLE svc_jobs (
  id         TEXT    PRIMARY KEY,  -- the idempotency key
  kind       TEXT    NOT NULL,     -- turn, ended, report, notice
  state      TEXT    NOT NULL,     -- due, waiting (for a late answer), fallback (is being sent), done, dead
  service    TEXT    NOT NULL,
  user_addr  TEXT    NOT NULL,
  session_id TEXT    NOT NULL,
  turn       INTEGER NOT NULL,
  body       {BYTES} NOT NULL,     -- JSON, what happened
  answer     {BYTES},              -- JSON, what the provider said, until the user's message is submitted
  created_at BIGINT  NOT NULL,
  due_at     BIGINT  NOT NULL,     -- of one that is leased: the lease's end
  give_up_at BIGINT  NOT NULL,
  ended_at   BIGINT,               -- NULL: open
  attempts   INTEGER NOT NULL,
  last_error TEXT    NOT NULL
);
CREATE INDEX svc_jobs_due ON svc_jobs (service, due_at) WHERE ended_at IS NULL;
CREATE INDEX svc_jobs_session ON svc_jobs (session_id, turn) WHERE ended_at IS NULL;
CREATE INDEX svc_jobs_ended ON svc_jobs (ended_at) WHERE ended_at IS NOT NULL;

-- The messages that users were sent, for reports.
CREATE TABLE svc_replies (
  message_id TEXT    NOT NULL PRIMARY KEY,
  service    TEXT    NOT NULL,
  session_id TEXT    NOT NULL,
  turn       INTEGER NOT NULL,
  sent_at    BIGINT  NOT NULL
);
CREATE INDEX svc_replies_old ON svc_replies (sent_at);
