-- One schema for two engines; {SERIAL} and {BYTES} are filled in for the engine. Times are milliseconds since 1970.

-- +goose Up
CREATE TABLE ppg_pushes (
  id             {SERIAL},
  initiator      TEXT     NOT NULL,
  push_id        TEXT     NOT NULL,
  version        TEXT     NOT NULL, -- of PAP
  accepted_at    BIGINT   NOT NULL,
  deliver_before BIGINT   NOT NULL,
  notify_to      TEXT     NOT NULL, -- '' nobody asks for results
  remote         TEXT     NOT NULL, -- address of the initiator
  quality        TEXT     NOT NULL, -- JSON, as it was asked for
  priority       SMALLINT NOT NULL,
  confirm        SMALLINT NOT NULL, -- delivered means that the SMSC says so
  content        {BYTES}  NOT NULL  -- WSP push
);
CREATE UNIQUE INDEX ppg_pushes_once ON ppg_pushes (initiator, push_id);
CREATE INDEX ppg_pushes_accepted ON ppg_pushes (accepted_at);

CREATE TABLE ppg_deliveries (
  id              {SERIAL},
  push            BIGINT   NOT NULL,
  address         TEXT     NOT NULL, -- as the initiator wrote it
  kind            TEXT     NOT NULL,
  value           TEXT     NOT NULL,
  state           SMALLINT NOT NULL,
  code            INTEGER  NOT NULL, -- PAP result code
  detail          TEXT     NOT NULL,
  event_at        BIGINT   NOT NULL, -- when the state came about
  due_at          BIGINT,            -- next work; NULL when there is none
  lease           TEXT     NOT NULL, -- process that works on it, else ''
  attempts        INTEGER  NOT NULL,
  notify_due      BIGINT,            -- when the result is told; NULL when it need not be
  notify_lease    TEXT     NOT NULL,
  notify_attempts INTEGER  NOT NULL
);
CREATE INDEX ppg_deliveries_push ON ppg_deliveries (push);
CREATE INDEX ppg_deliveries_due ON ppg_deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ppg_deliveries_notify ON ppg_deliveries (notify_due) WHERE notify_due IS NOT NULL;

-- Message ids of SMSCs, for receipts. An id may come back in another base.
CREATE TABLE ppg_segments (
  id        {SERIAL},
  delivery  BIGINT   NOT NULL,
  smsc      TEXT     NOT NULL,
  text      TEXT     NOT NULL,
  decimal   TEXT     NOT NULL,
  hex       TEXT     NOT NULL,
  delivered SMALLINT NOT NULL
);
CREATE INDEX ppg_segments_delivery ON ppg_segments (delivery);
CREATE INDEX ppg_segments_text ON ppg_segments (smsc, text);
CREATE INDEX ppg_segments_decimal ON ppg_segments (smsc, decimal);
CREATE INDEX ppg_segments_hex ON ppg_segments (smsc, hex);

-- +goose Down
DROP TABLE ppg_segments; DROP TABLE ppg_deliveries; DROP TABLE ppg_pushes;
