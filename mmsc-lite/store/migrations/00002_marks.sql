-- +goose Up
-- What a message is to two-way services, as JSON; '' for nearly all.
ALTER TABLE messages ADD COLUMN marks TEXT NOT NULL DEFAULT '';
