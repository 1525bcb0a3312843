-- +goose Up
-- Random keys of this database, made by its first program.
CREATE TABLE secrets (
  name  TEXT PRIMARY KEY,
  value {BYTES} NOT NULL
);
