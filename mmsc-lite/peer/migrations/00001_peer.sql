-- One schema for two engines; words in braces are filled in for the engine (sql.go). Times are milliseconds since 1970.

-- +goose Up
-- Messages that were fetched from peers, as their servers sent them.
CREATE TABLE peer_messages (
  id             {BYTES} PRIMARY KEY, -- SHA-256 of location and subscriber
  operator       TEXT    NOT NULL,
  location       TEXT    NOT NULL,
  subscriber     TEXT    NOT NULL,    -- normalised, '' unknown
  transaction_id TEXT    NOT NULL,    -- of the M-Retrieve.conf
  message_id     TEXT    NOT NULL,
  size           BIGINT  NOT NULL,    -- octets of the PDU
  fetched_at     BIGINT  NOT NULL,
  served_at      BIGINT  NOT NULL,    -- when a handset last got it whole, 0 never
  told_at        BIGINT  NOT NULL,    -- when a handset answered, 0 not yet
  expires_at     BIGINT  NOT NULL
);
CREATE INDEX peer_messages_transaction ON peer_messages (transaction_id);
CREATE INDEX peer_messages_message ON peer_messages (message_id);
CREATE INDEX peer_messages_subscriber ON peer_messages (subscriber, served_at);
CREATE INDEX peer_messages_expiry ON peer_messages (expires_at);
CREATE TABLE peer_chunks (
  message_id {BYTES} NOT NULL,
  seq        INTEGER NOT NULL,        -- 0, 1, …
  data       {BYTES} NOT NULL,
  PRIMARY KEY (message_id, seq)
);

-- What handsets said and the peers have to learn.
CREATE TABLE peer_indications (
  id         {BYTES} PRIMARY KEY,     -- SHA-256 of location and PDU
  location   TEXT    NOT NULL,
  pdu        {BYTES} NOT NULL,
  due_at     BIGINT,                  -- NULL: done
  attempts   INTEGER NOT NULL,
  expires_at BIGINT  NOT NULL
);
CREATE INDEX peer_indications_due ON peer_indications (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX peer_indications_expiry ON peer_indications (expires_at);

-- +goose Down
DROP TABLE peer_indications; DROP TABLE peer_chunks; DROP TABLE peer_messages;
