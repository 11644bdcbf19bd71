# lgcodec in a container, with nothing in it that compiles, run by nobody in particular on a file system that is only read:
#   docker build -t lgcodec .
#   docker run --rm --read-only --user "$(id -u):$(id -g)" -v "$PWD:/data" lgcodec compress photo.png
# docs/install.md says more.
FROM python:3.13-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# With the extras that are asked for, as in --build-arg EXTRAS=[formats,zarr]
ARG EXTRAS=
RUN python -m venv /opt/lgcodec \
    && /opt/lgcodec/bin/pip install --no-cache-dir ".${EXTRAS}" \
    && /opt/lgcodec/bin/python -c "from lgcodec.models.machines.native import library; raise SystemExit(not library.available())" \
    && /opt/lgcodec/bin/pip uninstall --yes pip

FROM python:3.13-slim
COPY --from=build /opt/lgcodec /opt/lgcodec
ENV PATH=/opt/lgcodec/bin:$PATH
USER 65534:65534
WORKDIR /data
ENTRYPOINT ["lgcodec"]
CMD ["--help"]
