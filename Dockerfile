FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /inbox ./cmd/inbox
RUN mkdir -m 700 /state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /inbox /inbox
# A volume at either path keeps the snapshot and certificates.
COPY --from=build --chown=65532:65532 /state /state
COPY --from=build --chown=65532:65532 /state /var/lib/inbox
USER 65532:65532
EXPOSE 3000 3478/tcp 3478/udp
ENTRYPOINT ["/inbox"]
CMD ["serve"]
